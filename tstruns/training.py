"""`tst train`: one run from its config, in its directory, from its start or from where a kill left it."""

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .checkpoints import batch_of, checkpoint_saver, finished_checkpoints, restore_rng_callback
from .config import RunConfig
from .run_directory import RunDirectory
from .run_log import logging_to
from .summary import summarise

if TYPE_CHECKING:
    from composer import Trainer

log = logging.getLogger(__name__)
Result = TypeVar("Result")


def train(config: RunConfig) -> dict[str, Any]:
    """Runs a config in its run directory, or goes on from the newest checkpoint there. Called by every rank.

    Returns:
        The summary, as in summary.json; of a run that was finished before, the one it left.

    Raises:
        ValueError: The run directory is another config's, the hardware cannot run this config, or data, model
            and algorithm do not fit each other. Nothing has been trained then.
    """
    from composer.utils import dist, get_device

    device = get_device(None)
    _check_hardware(config, device.name)
    if dist.get_world_size() > 1:
        dist.initialize_dist(device, timeout=config.dist_timeout)
    run = RunDirectory(config.run_dir)
    try:
        if not _on_rank_zero(lambda: run.claim(config)):
            kept = _on_rank_zero(lambda: finished_checkpoints(run.checkpoints))
            with logging_to(run.log_file if dist.get_global_rank() == 0 else None):
                _run(config, run, kept)
        return _on_rank_zero(lambda: run.summary() or {})
    finally:
        run.lock.release()


def _run(config: RunConfig, run: RunDirectory, kept: list[Path]) -> None:
    """Trains to the end of max_duration and writes the summary."""
    from composer.utils import dist

    done = batch_of(kept[-1]) if kept else 0
    _on_rank_zero(lambda: run.drop_metrics_from(done))
    log.info("run %s: %s", run.path, f"goes on from {kept[-1].name}" if kept else "starts")
    with contextlib.ExitStack() as to_close:
        trainer, metrics = _build(config, run, kept, to_close)
        if trainer.state.timestamp < trainer.state.max_duration:
            trainer.fit()
        elif not kept:
            raise ValueError(
                f"load_path: {config.load_path} is at batch {trainer.state.timestamp.batch.value} already, "
                f"and max_duration is {config.max_duration!r}: nothing is left to train"
            )
        metrics.close_line()
        if dist.get_global_rank() == 0:
            run.finish(summarise(config, run, trainer))


def _build(
    config: RunConfig, run: RunDirectory, kept: list[Path], to_close: contextlib.ExitStack
) -> "tuple[Trainer, Any]":
    """Returns the Trainer, its checkpoint loaded, and the logger that writes metrics.jsonl.

    `to_close` gets the Trainer and the datasets, which hold shared memory, also when building fails.
    """
    from composer import Trainer
    from composer.utils import dist, reproducibility

    from .execution import average_gradients, execution
    from .loaders import build_loader
    from .metrics_file import MetricsFile
    from .model import build_model
    from .plugins import build_algorithms, build_callbacks, build_loggers, build_optimizer
    from .progress_line import ProgressLine
    from .schedule import build_scheduler
    from .tokenizer import load_tokenizer

    train_data = build_loader(config.train_loader, config.global_train_batch_size // dist.get_world_size())
    dataset = train_data.dataloader.dataset
    to_close.callback(dataset.close)
    tokenizer = load_tokenizer(config, dataset)
    # Just before the weights are drawn: they depend on the seed alone, whatever the loaders drew.
    reproducibility.seed_all(config.seed)
    model = build_model(config.model, dataset.card, tokenizer)
    metrics = MetricsFile(run.metrics_file, dataset.seq_len, resuming=bool(kept))
    progress = [ProgressLine()] if config.progress_bar else []
    settings = {
        **_plain(config),
        **_evaluation(config, to_close),
        **execution(config, model),
        "model": model,
        "train_dataloader": train_data,
        "optimizers": build_optimizer(config.optimizer, model),
        "schedulers": build_scheduler(config.scheduler),
        "algorithms": build_algorithms(config),
        "loggers": [metrics, *progress, *build_loggers(config, run)],
        "run_name": run.path.name,
        "load_path": str(kept[-1]) if kept else config.load_path,
        "load_weights_only": config.load_weights_only and not kept,
    }
    # The saver holds a temporary directory: not before everything else is known to be right.
    saver = checkpoint_saver(config, run, kept)
    try:
        trainer = Trainer(**settings, callbacks=[*build_callbacks(config), saver])
    except BaseException:
        saver.tmp_dir_for_symlink.cleanup()
        raise
    to_close.callback(trainer.close)
    average_gradients(trainer)
    trainer.state.callbacks.append(restore_rng_callback(trainer))
    return trainer, metrics


def _plain(config: RunConfig) -> dict[str, Any]:
    """Returns the Trainer's arguments that are the config's own values; our bar stands in for Composer's."""
    return {
        "max_duration": config.max_duration,
        "precision": config.precision,
        "device_train_microbatch_size": config.device_train_microbatch_size,
        "accumulate_train_batch_on_tokens": config.accumulate_train_batch_on_tokens,
        "seed": config.seed,
        "dist_timeout": config.dist_timeout,
        "progress_bar": False,
        "load_progress_bar": False,
    }


def _evaluation(config: RunConfig, to_close: contextlib.ExitStack) -> dict[str, Any]:
    """Returns the Trainer's arguments about evaluation; none when there is no eval_loader."""
    from composer.utils import dist

    from .loaders import build_loader

    if config.eval_loader is None:
        return {}
    rows = config.device_eval_batch_size or config.global_train_batch_size // dist.get_world_size()
    eval_data = build_loader(config.eval_loader, rows)
    to_close.callback(eval_data.dataloader.dataset.close)
    return {
        "eval_dataloader": eval_data,
        "eval_interval": config.eval_interval,
        "eval_subset_num_batches": config.eval_subset_num_batches,
    }


def _check_hardware(config: RunConfig, device: str) -> None:
    if device == "cpu" and config.precision != "fp32":
        raise ValueError(
            f"precision: {config.precision!r} needs a GPU, and none was found; on a CPU Composer trains in "
            "fp32 only: add precision=fp32"
        )
    if device == "cpu" and config.device_train_microbatch_size == "auto":
        raise ValueError(
            "device_train_microbatch_size: 'auto' needs a GPU, and none was found; give a number of rows, or "
            "leave it out"
        )


def _on_rank_zero(work: Callable[[], Result]) -> Result:
    """Runs something on rank 0 and gives every rank its result, or its error."""
    from composer.utils import dist

    outcome: list[Any] = [None, None]
    if dist.get_global_rank() == 0:
        try:
            outcome[0] = work()
        except (ValueError, OSError) as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    result: Result = outcome[0]
    return result
