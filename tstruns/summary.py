"""summary.json: the totals of a finished run, written last."""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from composer import Trainer

    from .config import RunConfig
    from .run_directory import RunDirectory

log = logging.getLogger(__name__)

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
        "flops_per_position": _flops_per_position(trainer),
        "train_data": _identity(trainer.state.train_dataloader),
        "eval_data": _eval_data(config, trainer),
    }


def _flops_per_position(trainer: "Trainer") -> int | None:
    """Returns the training FLOPs of one latent position; None for a model they cannot be counted of."""
    from .flops import flops_per_position
    from .shapes import shape_of

    wrapped = trainer.state.model
    model = getattr(wrapped, "module", wrapped).model
    try:
        shape = shape_of(model.config.to_dict())
    except ValueError as error:
        log.warning("the FLOPs of this model are not counted: %s", error)
        return None
    return flops_per_position(shape, trainer.state.train_dataloader.dataset.seq_len)


def _identity(loader: Any) -> dict[str, Any]:
    """Returns what tells two datasets apart, and their tokenizers."""
    stored = loader.dataset.stored
    tokenizer = stored.card.tokenizer.vocab_sha256 if stored.card is not None else None
    return {"sha256": stored.sha256, "seq_len": loader.dataset.seq_len, "tokenizer_sha256": tokenizer}


def _eval_data(config: "RunConfig", trainer: "Trainer") -> dict[str, Any] | None:
    """Returns the evaluation data's identity and how many of its rows one evaluation reads."""
    from composer.utils import dist

    if not trainer.state.evaluators:
        return None
    loader = trainer.state.evaluators[0].dataloader.dataloader
    batches = len(loader)
    if config.eval_subset_num_batches != -1:
        batches = min(batches, config.eval_subset_num_batches)
    rows = min(batches * loader.batch_size * dist.get_world_size(), loader.dataset.num_samples)
    return {**_identity(loader), "rows": rows}
