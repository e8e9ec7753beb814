"""A ladder: baselines of several lengths, each with its schedule finished, and what lies between them.

Between two neighbouring lengths the loss is a straight line over the logarithm of the length; beyond the
shortest and the longest nothing is known, and nothing is said.
"""

import math
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from .arms import Spread

__all__ = ["Ladder", "Reading", "Rung"]

Kind = Literal["measured", "interpolated", "beyond", "before"]


@dataclass(frozen=True)
class Reading:
    """What a ladder says: a value, or only the end that it lies beyond.

    ``kind`` measured or interpolated: ``value`` is it. ``beyond`` the longest baseline, or ``before`` the
    shortest: ``value`` is that baseline's, and the true one is past it.
    """

    kind: Kind
    value: float

    @property
    def is_known(self) -> bool:
        """Whether the value itself is known."""
        return self.kind in ("measured", "interpolated")


class _HasLength(Protocol):
    @property
    def steps(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def eval_loss(self) -> Spread: ...


Rung = TypeVar("Rung", bound=_HasLength)


@dataclass(frozen=True)
class Ladder(Generic[Rung]):
    """Baselines by length."""

    arms: tuple[Rung, ...]

    @property
    def longest(self) -> Rung:
        """The last one."""
        return self.arms[-1]

    def steps_to(self, loss: float) -> Reading:
        """Returns the steps at which baselines first get down to a loss."""
        points = [(arm.steps, arm.eval_loss.mean) for arm in self.arms]
        if loss > points[0][1]:
            return Reading("before", points[0][0])
        for steps, reached in points:
            if loss == reached:
                return Reading("measured", steps)
            if reached < loss:
                break
        else:
            return Reading("beyond", points[-1][0])
        upper = next(number for number, point in enumerate(points) if point[1] < loss)
        (short, worse), (long, better) = points[upper - 1], points[upper]
        share = (worse - loss) / (worse - better)
        return Reading("interpolated", math.exp(_between(math.log(short), math.log(long), share)))

    def loss_at(self, tokens: int) -> Reading:
        """Returns the loss of a baseline that reads so many tokens of text."""
        points = [(arm.tokens, arm.eval_loss.mean) for arm in self.arms]
        if tokens < points[0][0]:
            return Reading("before", points[0][1])
        for read, loss in points:
            if read == tokens:
                return Reading("measured", loss)
        if tokens > points[-1][0]:
            return Reading("beyond", points[-1][1])
        upper = next(number for number, point in enumerate(points) if point[0] > tokens)
        (short, worse), (long, better) = points[upper - 1], points[upper]
        share = math.log(tokens / short) / math.log(long / short)
        return Reading("interpolated", _between(worse, better, share))


def _between(low: float, high: float, share: float) -> float:
    return low + share * (high - low)
