"""Where the Algorithm's arguments, the dataset, the run's length and a checkpoint must agree."""

import logging
from dataclasses import dataclass
from typing import Any

from .phase import RunLength, Schedule, parse_time, switch_batch
from .settings import Settings
from .weights import bag_weights

__all__ = ["BagData", "refuse_to_superpose_now", "run_length", "settle_bag_size", "settle_switch"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BagData:
    """What a dataset of bag rows says of itself; see `tstdata.StreamingBagDataset`."""

    bag_size: int
    superposition_batches: int
    seq_len: int | None

    @classmethod
    def of(cls, dataset: Any) -> "BagData | None":
        """Read a dataset; None when it serves no bags, which is when it has no ``attach_superposition``."""
        if not hasattr(dataset, "attach_superposition"):
            return None
        return cls(dataset.bag_size, dataset.superposition_batches, getattr(dataset, "seq_len", None))


def run_length(state: Any, data: BagData | None, growth: int, world_size: int) -> RunLength:
    """Read from the Trainer's state what is known of the run's length before its first batch."""
    loader = state.train_dataloader
    # Without drop_last a batch may be smaller, and counting batches in rows is no longer exact.
    rows = getattr(loader, "batch_size", None) if getattr(loader, "drop_last", False) else None
    return RunLength(
        max_duration=None if state.max_duration is None else state.max_duration.to_timestring(),
        epoch_batches=None if state.dataloader_len is None else int(state.dataloader_len),
        batch_rows=None if rows is None else rows * world_size,
        seq_len=None if data is None else data.seq_len,
        growth=growth,
    )


def settle_bag_size(settings: Settings, data: BagData | None, saved: dict[str, Any] | None) -> int:
    """Return s, or raise ValueError naming the two values that disagree."""
    given = settings.bag_size
    served = data.bag_size if data is not None and settings.folds_inputs else None
    if given is not None and served is not None and given != served:
        raise ValueError(
            f"TokenSuperposition has bag_size {given} and the dataset bag_size {served}; the rows it serves "
            f"are {served} tokens a bag. Give both the same number, or leave out the Algorithm's."
        )
    bag_size = given if given is not None else served
    if bag_size is None:
        raise ValueError(
            "TokenSuperposition has no bag_size and the training dataset names none. Type bag_size=6, or "
            "train from bag shards (train_loader: name: bag_shards)."
        )
    if isinstance(settings.weighting, tuple):
        bag_weights(settings.weighting, bag_size)  # as many numbers as tokens in a bag, or ValueError
    _refuse_change("bag_size", saved, bag_size)
    return bag_size


def settle_switch(
    settings: Settings, data: BagData | None, saved: dict[str, Any] | None, run: RunLength, bag_size: int
) -> Schedule:
    """Return the schedule with its absolute switch, or raise ValueError naming the two values that disagree.

    A share of the run that a checkpoint has already turned into a batch stays that batch: worked out again on
    a longer run, it would go back into superposition.
    """
    for name in ("mode", "weighting", "alternative", "recovery_rows"):
        _refuse_change(name, saved, settings.saved()[name])
    served = None if data is None else data.superposition_batches
    if not settings.folds_inputs and served:
        raise ValueError(
            "mode 'output_only' reads ordinary rows, but the dataset serves bag rows for its first "
            f"{served} batches (superposition_batches {served}). Set the dataset's superposition_batches: 0."
        )
    if not settings.folds_inputs:
        served = None
    given = None
    if settings.duration is not None:
        frozen = saved is not None and saved["duration"] == settings.duration
        given = (
            saved["switch_batch"] if saved is not None and frozen else switch_batch(settings.duration, run)
        )
    if given is not None and served is not None and given != served:
        raise ValueError(
            f"TokenSuperposition switches at batch {given} (duration {settings.duration!r}, max_duration "
            f"{run.max_duration!r}) and the dataset at batch {served} (superposition_batches {served}). "
            "Give both the same number of batches, or leave out duration."
        )
    switch = given if given is not None else served
    if switch is None:
        raise ValueError(
            "TokenSuperposition has no duration and the training dataset names none. Type "
            "duration='6000ba', or train from bag shards with superposition_batches."
        )
    _refuse_change("switch_batch", saved, switch)
    _say_if_it_never_ends(switch, run)
    return Schedule(bag_size, switch)


def refuse_to_superpose_now(
    settings: Settings, data: BagData | None, saved: dict[str, Any] | None, state: Any, schedule: Schedule
) -> None:
    """Raise ValueError when the next batch is to be superposed, but the run was ordinary or has no bags."""
    bag_size, switch = schedule.bag_size, schedule.switch_batch
    loader = type(getattr(state.train_dataloader, "dataset", state.train_dataloader)).__name__
    if saved is None and state.timestamp.batch > 0:
        raise ValueError(
            f"the checkpoint is at batch {int(state.timestamp.batch)} and was trained without "
            f"TokenSuperposition, which would superpose until batch {switch}. Type duration='0ba', or start "
            "a new run from its weights (load_weights_only=True)."
        )
    if data is not None and settings.recovery_rows is not None:
        raise ValueError(
            f"recovery_rows is {settings.recovery_rows!r}, but a {loader} serves rows of its own in the "
            "recovery phase. Leave recovery_rows out."
        )
    if data is None and settings.folds_inputs and settings.recovery_rows is None:
        raise ValueError(
            f"mode {settings.mode!r} needs rows of L*{bag_size} tokens until batch {switch} and rows of L "
            f"after it; the training data, a {loader}, serves no bag rows. Train from bag shards "
            "(train_loader: name: bag_shards). Or say what becomes of rows of "
            f"L*{bag_size} tokens from batch {switch} on: recovery_rows='split' or 'keep'. Or type "
            "mode='output_only'."
        )


def _refuse_change(name: str, saved: dict[str, Any] | None, now: object) -> None:
    if saved is not None and saved[name] != now:
        raise ValueError(
            f"the checkpoint was trained with {name} {saved[name]!r} and this run has {name} {now!r}; a run "
            f"keeps its superposition settings when it is resumed. Restore {name} {saved[name]!r}, or start "
            "a new run from the weights alone (load_weights_only=True)."
        )


def _say_if_it_never_ends(switch: int, run: RunLength) -> None:
    if run.max_duration is None or switch == 0:
        return
    length, unit = parse_time(run.max_duration, "max_duration")
    if unit == "ba" and switch >= length:
        log.warning(
            "Superposition ends at batch %d but the run at %s: the model it leaves has seen no recovery "
            "phase.",
            switch,
            run.max_duration,
        )
