"""Mixing: which rows of its streams an epoch draws, and the order over what is drawn.

An epoch draws so many rows of a stream as its weight says: all n rows as often as they fit in (full draws),
and once more the rest, a part of every shard: evenly spread, in whole bags of s consecutive rows as far as
the rest has any. Which shards give a bag more than others, and where in a shard its part begins, is drawn
for every epoch anew; a part that reaches a shard's end goes on at its beginning.

What one draw takes of one shard, rows on end, is a piece. Pieces are to `EpochOrder` what shards are in a
dataset without weights: so its laws hold of them, and a stored row is served at most once a draw. The number
of bag rows is the same in every epoch: that is why what a part has before a shard's end is whole bags.

Example: s = 2, one shard of 5 rows of which an epoch draws 8: the pieces 0-4 and, beginning at 3, 3-4 and 0.
"""

from dataclasses import dataclass

import numpy as np

from .draws import Ints, below, draw
from .order import EpochOrder
from .plan import EpochPlan
from .spans import BASES, BEGINS, TURNS, Shuffle


@dataclass(frozen=True)
class Pieces:
    """Rows on end of one shard, drawn once: `size` stored rows from the dataset's stored row `first` on."""

    first: Ints
    size: Ints


@dataclass(frozen=True)
class Mixture:
    """How many rows an epoch draws of each stream.

    Args:
        rows_per_shard: Stored rows of all shards, stream after stream.
        stream_of_shard: The number of each one's stream.
        drawn: Rows that an epoch draws of each stream, a row being `joined` stored ones.
        bag_size: s.
        joined: m, stored rows in a row.
    """

    rows_per_shard: Ints
    stream_of_shard: Ints
    drawn: tuple[int, ...]
    bag_size: int
    joined: int = 1

    @property
    def rows_per_stream(self) -> list[int]:
        """Rows that each stream has."""
        rows = self.rows_per_shard // self.joined
        return [int(rows[self.stream_of_shard == stream].sum()) for stream in range(len(self.drawn))]

    @property
    def is_everything_once(self) -> bool:
        """Whether an epoch is every row of every stream, once: the pieces are the shards."""
        return list(self.drawn) == self.rows_per_stream

    @property
    def num_rows(self) -> int:
        """Rows that an epoch draws."""
        return sum(self.drawn)

    @property
    def num_bag_rows(self) -> int:
        """Bag rows in what an epoch draws."""
        bags = self.rows_per_shard // self.joined // self.bag_size
        number = 0
        for stream, (rows, drawn) in enumerate(zip(self.rows_per_stream, self.drawn, strict=True)):
            held = int(bags[self.stream_of_shard == stream].sum())
            full, rest = divmod(drawn, rows) if drawn else (0, 0)
            number += full * held + min(rest // self.bag_size, held)
        return number

    def pieces(self, epoch: int, seed: int) -> Pieces:
        """Returns what an epoch draws: stream after stream, shard after shard, its full draws first."""
        begins = self.rows_per_shard.cumsum() - self.rows_per_shard
        firsts, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for stream, (num_rows, drawn) in enumerate(zip(self.rows_per_stream, self.drawn, strict=True)):
            if not drawn:
                continue
            shards = np.flatnonzero(self.stream_of_shard == stream)
            full, rest = divmod(drawn, num_rows)
            first = np.repeat(begins[shards, None], full, 1)
            size = np.repeat(self.rows_per_shard[shards, None], full, 1)
            if rest:
                part = self._part(shards, rest, epoch, seed)
                first = np.concatenate([first, begins[shards, None] + part.first], 1)
                size = np.concatenate([size, part.size], 1)
            firsts.append(first.ravel())
            sizes.append(size.ravel())
        return Pieces(np.concatenate(firsts), np.concatenate(sizes))

    def order(self, plan: EpochPlan, num_canonical_nodes: int, shuffle: Shuffle) -> "EpochOrder | DrawnOrder":
        """Returns the order of an epoch."""
        if self.is_everything_once:
            return EpochOrder(
                self.rows_per_shard, plan, self.bag_size, num_canonical_nodes, shuffle, self.joined
            )
        pieces = self.pieces(plan.epoch, shuffle.seed)
        order = EpochOrder(pieces.size, plan, self.bag_size, num_canonical_nodes, shuffle, self.joined)
        return DrawnOrder(order, pieces, int(self.rows_per_shard.sum()))

    def _part(self, shards: Ints, rest: int, epoch: int, seed: int) -> Pieces:
        """Returns what a draw of `rest` rows takes of each shard: two pieces `[shards, 2]`, by stored row.

        The second is what is taken from the shard's beginning once its end is reached, or empty.
        """
        stored = self.rows_per_shard[shards]
        rows = stored // self.joined
        taken = _spread(
            rows, self.bag_size, rest, np.argsort(draw(shards, seed, epoch, TURNS), kind="stable")
        )
        begin = below(np.maximum(rows, 1), draw(shards, seed, epoch, BEGINS))
        to_end = rows - begin
        before = np.where(taken > to_end, to_end // self.bag_size * self.bag_size, taken)
        begin = np.where(taken > to_end, rows - before, begin)
        # Where a shard's rows of m stored ones begin, as in a full draw.
        base = below(stored % self.joined + 1, draw(shards, seed, epoch, BASES))
        first = np.stack([base + begin * self.joined, base], 1)
        return Pieces(first, np.stack([before, taken - before], 1) * self.joined)


def _spread(rows: Ints, bag_size: int, number: int, turn: Ints) -> Ints:
    """Returns how many rows to take of each shard, `number` in all: bags evenly, then single rows in turn."""
    bags = rows // bag_size
    all_bags = int(bags.sum())
    wanted = min(number // bag_size, all_bags)
    taken = np.zeros_like(rows)
    taken[turn] = np.diff(bags[turn].cumsum() * wanted // max(all_bags, 1), prepend=0) * bag_size
    more = np.minimum((rows - taken)[turn].cumsum(), number - wanted * bag_size)
    taken[turn] += np.diff(more, prepend=0)
    return taken


class DrawnOrder:
    """The order of an epoch that draws pieces: `EpochOrder` over them, its ids those of stored rows.

    A row that is drawn k times has its id k times: who reads it needs not know of which draw it is.

    Args:
        order: Over the pieces' sizes.
        pieces: What is drawn.
        num_stored: Stored rows of the dataset; a bag row's id is its first stored row's and this.
    """

    def __init__(self, order: EpochOrder, pieces: Pieces, num_stored: int) -> None:
        self.plan = order.plan
        self._order, self._num_stored = order, num_stored
        self._stops = pieces.size.cumsum()
        # From the place of a row among all pieces to its place in the dataset.
        self._shift = pieces.first - (self._stops - pieces.size)

    def batches(self, start: int, stop: int) -> Ints:
        """Returns the ids of global batches `start` to `stop`, without it, `[batches, global batch size]`."""
        ids = self._order.batches(start, stop)
        num_drawn = int(self._stops[-1])
        is_bag = ids >= num_drawn
        row = np.where(is_bag, ids - num_drawn, np.maximum(ids, 0))
        row = row + self._shift[np.searchsorted(self._stops, row, side="right")]
        return np.where(ids < 0, -1, row + is_bag * self._num_stored)
