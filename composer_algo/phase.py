"""When superposition ends: a switch given as a time string, turned into an absolute batch and kept there."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["RunLength", "Schedule", "parse_time", "switch_batch", "token_share_warning"]

TIME_STRING = re.compile(r"\s*(\d+(?:\.\d+)?(?:e-?\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Schedule:
    """The bag size of each batch: bags in the superposition phase, then tokens in the recovery phase.

    ``switch_batch`` is the first batch of the recovery phase, counted from the beginning of the run.
    """

    bag_size: int
    switch_batch: int

    def bag_size_at(self, batch: int) -> int:
        """Return s in the superposition phase and 1 in the recovery phase."""
        return self.bag_size if batch < self.switch_batch else 1

    def phase_at(self, batch: int) -> int:
        """Return 1 in the superposition phase, 2 in the recovery phase."""
        return 1 if batch < self.switch_batch else 2


@dataclass(frozen=True)
class RunLength:
    """What is known about a run's length before its first batch; None where it is not known.

    ``epoch_batches``: batches in one epoch. ``batch_rows``: rows in one global batch. ``seq_len``: tokens in
    a row of the recovery phase. ``growth``: how many times longer a row of the superposition phase is (s; 1
    for output-only).
    """

    max_duration: str | None
    epoch_batches: int | None = None
    batch_rows: int | None = None
    seq_len: int | None = None
    growth: int = 1

    @property
    def batch_tokens(self) -> int | None:
        """Tokens in a global batch of the recovery phase."""
        return None if self.batch_rows is None or self.seq_len is None else self.batch_rows * self.seq_len


def switch_batch(duration: str, run: RunLength) -> int:
    """Return the batch at which superposition ends, for a duration in batches or a share of the run.

    A share that is not a whole number of batches goes to the nearest one, half a batch up.

    >>> switch_batch("0.3dur", RunLength("100ba"))
    30

    Raises:
        ValueError: another unit, a share above 1, or a run whose number of batches cannot be known now.
    """
    value, unit = parse_time(duration, "duration")
    if unit == "ba":
        if value.denominator != 1:
            raise ValueError(
                f"duration is {duration!r}; batches are whole. Type duration='{round(value)}ba'."
            )
        return int(value)
    if unit != "dur":
        raise ValueError(
            f"duration is {duration!r}; only batches and shares of the run name one exact batch to switch "
            "at. Type the batch, as in duration='6000ba', or the share, as in duration='0.3dur'."
        )
    if value > 1:
        raise ValueError(
            f"duration is {duration!r}; a share of the run is at most 1. Type duration='0.3dur'."
        )
    return math.floor(value * _length_in_superposed_batches(duration, run) + Fraction(1, 2))


def token_share_warning(duration: str, run: RunLength) -> str | None:
    """Return what to say when a share of the run is a share of its tokens, not of its steps; else None."""
    share, unit = parse_time(duration, "duration")
    if unit != "dur" or run.max_duration is None or run.growth == 1 or share in (0, 1):
        return None
    tokens, length_unit = parse_time(run.max_duration, "max_duration")
    if length_unit != "tok":
        return None
    superposed = switch_batch(duration, run)
    assert run.batch_tokens is not None  # else switch_batch has refused
    recovery = tokens / run.batch_tokens - superposed * run.growth
    return (
        f"duration {duration!r} of max_duration {run.max_duration!r} is {float(share):.1%} of the TOKENS "
        f"but only {float(superposed / (superposed + recovery)):.1%} of the optimizer steps, because a "
        f"superposed step reads {run.growth} times more text; the paper's ratio is a share of steps. "
        f"Superposition ends at batch {superposed}. For a share of steps, give max_duration in batches (ba)."
    )


def parse_time(text: str, name: str) -> tuple[Fraction, str]:
    """Split a time string into its exact number and its unit: ``"0.3dur"`` is 3/10 of ``dur``."""
    match = TIME_STRING.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(
            f"{name} is {text!r}; it is a Composer time string, a number and a unit. Type {name}='6000ba' or "
            f"{name}='0.3dur'."
        )
    return Fraction(match[1]), match[2].lower()


def _length_in_superposed_batches(duration: str, run: RunLength) -> Fraction:
    """Return how many batches the run would have if every batch were one of the superposition phase."""
    length, unit = (None, "") if run.max_duration is None else parse_time(run.max_duration, "max_duration")
    if length is not None:
        if unit == "ba":
            return length
        # With bag rows the first epoch is shorter than the others, so only a single epoch's length is known.
        if unit == "ep" and run.epoch_batches is not None and (length <= 1 or run.growth == 1):
            return length * run.epoch_batches
        if unit == "sp" and run.batch_rows is not None:
            return length / run.batch_rows
        if unit == "tok" and run.batch_tokens is not None:
            return length / (run.batch_tokens * run.growth)
    raise ValueError(
        f"duration {duration!r} is a share of max_duration {run.max_duration!r}, and how many batches that "
        "is cannot be known before the run. Type the switch in batches, as in duration='6000ba', or "
        "max_duration in batches."
    )
