"""The switch as a Composer time string in batches, tokens and shares of the run, and where they differ."""

import math
from dataclasses import dataclass
from fractions import Fraction

from .run_size import RunSize

__all__ = ["Durations", "durations_of"]


@dataclass(frozen=True)
class Durations:
    """The same switch in three units, ``ba``, ``tok`` and ``dur``: a share of ``max_duration`` in batches.

    ``max_duration_tok``: the run's length in the tokens Composer counts, which are data tokens. Of it,
    ``dur_of_tok`` is the same switch, and ``dur`` would switch at ``dur_misread_batch`` instead.
    """

    ba: str
    tok: str
    dur: str
    max_duration: str
    max_duration_tok: str
    dur_of_tok: str
    dur_misread_batch: int
    warnings: tuple[str, ...]


def durations_of(size: RunSize) -> Durations:
    """Return the time strings of a run's switch."""
    batches, growth = size.superposition_batches, size.growth
    # Batches of L-token rows that the data would fill: what a token-based max_duration measures.
    filled = batches * growth + size.steps - batches
    dur = _shortest_share(batches, Fraction(size.steps))
    misread = math.floor(Fraction(dur) * filled / growth + Fraction(1, 2))
    durations = Durations(
        ba=f"{batches}ba",
        tok=f"{batches * growth * size.step_tokens}tok",
        dur=f"{dur}dur",
        max_duration=f"{size.steps}ba",
        max_duration_tok=f"{size.total_tokens}tok",
        dur_of_tok=f"{_shortest_share(batches, Fraction(filled, growth))}dur",
        dur_misread_batch=misread,
        warnings=(),
    )
    if misread == batches:
        return durations
    steps_then = misread + filled - misread * growth
    warning = (
        f"{durations.dur} of max_duration {durations.max_duration_tok}, the same data, is a share of the "
        f"tokens: it switches at batch {misread}, which is {misread / steps_then:.1%} of the steps. The "
        "paper's ratio is a share of steps: give both in ba."
    )
    return Durations(**{**vars(durations), "warnings": (warning,)})


def _shortest_share(batches: int, length: Fraction) -> str:
    """Return the shortest decimal share of ``length`` batches whose nearest batch is ``batches``."""
    for digits in range(1, 30):
        share = Fraction(round(batches / length * 10**digits), 10**digits)
        if share <= 1 and math.floor(share * length + Fraction(1, 2)) == batches:
            return f"{float(share):.{digits}f}".rstrip("0").rstrip(".") or "0"
    raise AssertionError((batches, length))
