"""A line: one canonical node's units by place, worked out a window of places at a time.

A unit's place is drawn within its span's reach, so a window of places concerns few spans: those before it lie
below it with all their units, and need no drawing at all. Neither beginning nor resuming walks an epoch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .draws import Ints, below, draw, share
from .spans import BLOCKS, Shuffle, Spans, units

# How many places a window has: a quarter of the reach, so that a unit is drawn for some five windows, within
# bounds that keep a window small in memory.
_WINDOW = (1 << 16, 1 << 20)
# How many units are drawn at once, about: what fits a processor's cache.
_DRAWN_AT_ONCE = 1 << 17
# Algorithms by which all units of a span have the same reach.
_ONE_REACH = ("py1e", "py1s", "py2s", "naive")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cut:
    """A line's first units: those with a place below `place`, and of those at it, `tied`."""

    place: float
    tied: Ints

    def has(self, ids: Ints, places: Floats) -> npt.NDArray[np.bool_]:
        """Returns whether each unit is one of them."""
        first: npt.NDArray[np.bool_] = places < self.place
        return first | np.isin(ids, self.tied) if len(self.tied) else first


@dataclass(frozen=True)
class _Window:
    """A window's units in their order; `before` is how many come before them."""

    number: int
    before: int
    ids: Ints
    places: Floats


class Line:
    """The units of one node's spans, in the order of their places.

    Args:
        spans: The node's.
        counts: Units in each of them.
        anywhere: Spans whose units may land anywhere in the line. They take no room in it.
        ids_of: Returns the ids of all units of the spans of these numbers, span after span.
        shuffle: How far units may land, `block_size` in units.
        epoch: The epoch's number.
        purpose: What the draws are for.
    """

    def __init__(
        self,
        spans: Spans,
        counts: Ints,
        anywhere: npt.NDArray[np.bool_],
        ids_of: Callable[[Ints], Ints],
        shuffle: Shuffle,
        epoch: int,
        purpose: int,
    ) -> None:
        self.num_units = int(counts.sum())
        self._counts, self._anywhere, self._ids_of = counts, anywhere, ids_of
        self._shuffle, self._salts = shuffle, (shuffle.seed, epoch, purpose)
        self._room = np.where(anywhere, 0, counts)
        self._length = int(self._room.sum())
        self._begin = self._room.cumsum() - self._room
        if shuffle.algo == "py1br":
            self._begin += below(shuffle.block_size, draw(spans.node, shuffle.seed, epoch, BLOCKS))
        every = np.arange(len(counts))
        self._low = self._reach(every, np.zeros_like(counts))[0]
        self._high = self._reach(every, np.maximum(counts - 1, 0))[1]
        self._set_edges()
        self._window: _Window | None = None

    def units(self, start: int, stop: int) -> Ints:
        """Returns the ids of units number `start` up to, without it, `stop`."""
        parts = []
        while start < stop:
            window = self._window_of(start)
            parts.append(window.ids[start - window.before : stop - window.before])
            start += len(parts[-1])
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def cut(self, number: int) -> Cut:
        """Returns the line's first `number` units."""
        if number == self.num_units:
            return Cut(np.inf, np.zeros(0, np.int64))
        window = self._window_of(number)
        inside = number - window.before
        place = window.places[inside]
        return Cut(float(place), window.ids[:inside][window.places[:inside] == place])

    def counts_in(self, cut: Cut) -> Ints:
        """Returns how many units of each span are in `cut`."""
        counts = np.where(self._high < cut.place, self._counts, 0)
        for chosen in self._groups((self._low <= cut.place) & (self._high >= cut.place)):
            span, _ = units(self._counts[chosen])
            counts[chosen] = np.bincount(span[cut.has(*self.placed(chosen))], minlength=len(chosen))
        return counts

    def placed(self, chosen: Ints) -> tuple[Ints, Floats]:
        """Returns id and place of all units of the spans of these numbers, span after span."""
        ids = self._ids_of(chosen)
        if self._shuffle.algo in _ONE_REACH:
            low, high = (np.repeat(bound[chosen], self._counts[chosen]) for bound in (self._low, self._high))
        else:
            span, inside = units(self._counts[chosen])
            low, high = self._reach(chosen[span], inside)
        return ids, low + share(draw(ids, *self._salts)) * (high - low)

    def _reach(self, span: Ints, inside: Ints) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Returns where each unit may land: from `low` up to, without it, `high`."""
        algo, size = self._shuffle.algo, self._shuffle.block_size
        begin, count = self._begin[span], self._room[span]
        low, high = begin + inside, begin + inside + 1
        if algo == "naive":
            low, high = np.zeros_like(begin), np.full_like(begin, self._length)
        elif algo == "py1e":
            slack = np.maximum(size - count, 0) / 2
            low, high = np.maximum(begin - slack, 0), np.minimum(begin + count + slack, self._length)
        elif algo in ("py1s", "py2s"):
            low, high = begin, begin + count
        elif algo in ("py1b", "py1br"):
            low = (begin + inside) // size * size
            high = low + size
        if algo:
            low = np.where(self._anywhere[span], 0, low)
            high = np.where(self._anywhere[span], max(self._length, 1), high)
        return low, high

    def _set_edges(self) -> None:
        """Cuts places into windows; the last has no end, as a place may be rounded up to its reach's."""
        least, most = _WINDOW
        held = self._counts > 0
        bound = held & ~self._anywhere
        reach = np.max(self._high - self._low, where=bound, initial=0)
        width = min(max(int(reach) // 4, least), most)
        first, last = np.min(self._low, where=held, initial=0), np.max(self._high, where=held, initial=0)
        self._edges = np.append(np.arange(int(first), max(last, first + 1), width, np.float64), np.inf)

    def _window_of(self, number: int) -> _Window:
        """Returns the window that holds unit `number`."""
        window = self._guess(number)
        while not window.before <= number < window.before + len(window.ids):
            window = self._work_out(window.number + (-1 if number < window.before else 1))
        self._window = window
        return window

    def _guess(self, number: int) -> _Window:
        """Returns the last window, or, if unit `number` is far from it, one by the mean of places."""
        last = self._window
        if last is not None and last.before <= number <= last.before + len(last.ids):
            return last
        place = self._edges[0] + number / self.num_units * (self._edges[-2] - self._edges[0])
        return self._work_out(int(np.searchsorted(self._edges, place, side="right")) - 1)

    def _work_out(self, number: int) -> _Window:
        begin, end = self._edges[number], self._edges[number + 1]
        before = int(self._counts[self._high < begin].sum())
        ids, places = [np.zeros(0, np.int64)], [np.zeros(0)]
        for chosen in self._groups((self._low < end) & (self._high >= begin)):
            some, at = self.placed(chosen)
            before += int(np.count_nonzero(at < begin))
            inside = (at >= begin) & (at < end)
            ids.append(some[inside])
            places.append(at[inside])
        by_place = np.argsort(np.concatenate(places), kind="stable")
        return _Window(number, before, np.concatenate(ids)[by_place], np.concatenate(places)[by_place])

    def _groups(self, chosen: npt.NDArray[np.bool_]) -> Iterator[Ints]:
        """Yields the numbers of the chosen spans, as many at a time as are drawn at once."""
        numbers = np.flatnonzero(chosen & (self._counts > 0))
        group = (self._counts[numbers].cumsum() - 1) // _DRAWN_AT_ONCE
        yield from np.split(numbers, np.flatnonzero(np.diff(group)) + 1) if len(numbers) else ()
