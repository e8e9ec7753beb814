"""summary.json: the totals of a finished run, written last."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from composer import Trainer

    from .config import RunConfig
    from .run_directory import RunDirectory

# The training loss of one batch is noisy: the final one is a mean over the last batches, up to this many.
LAST_BATCHES = 100


def summarise(config: "RunConfig", run: "RunDirectory", trainer: "Trainer") -> dict[str, Any]:
    """Returns what summary.json holds, from the run's metrics.jsonl and its Trainer at the end."""
    from composer.utils import dist

    from .metrics_file import NEXT_TOKEN_LOSS, SUPERPOSITION_LOSS

    lines = list(run.metrics())
    last = lines[-1]
    evals = [line for line in lines if any(key.startswith("metrics/") for key in line)]
    recovery = [line[NEXT_TOKEN_LOSS] for line in lines if NEXT_TOKEN_LOSS in line][-LAST_BATCHES:]
    parameters = list(trainer.state.model.parameters())
    return {
        "max_duration": config.max_duration,
        "steps": last["batch"],
        "superposition_steps": sum(SUPERPOSITION_LOSS in line for line in lines),
        "tokens": last["tokens"],
        "equivalent_tokens": last["equivalent_tokens"],
        "train_loss": None if None in recovery or not recovery else sum(recovery) / len(recovery),
        "train_loss_batches": len(recovery),
        "eval": {key: value for key, value in evals[-1].items() if key.startswith("metrics/")}
        if evals
        else {},
        "eval_step": evals[-1]["batch"] if evals else None,
        "wall_seconds": last["wall_seconds"],
        "num_parameters": sum(parameter.numel() for parameter in parameters),
        "num_ranks": dist.get_world_size(),
        "device": trainer.state.device.name,
    }
