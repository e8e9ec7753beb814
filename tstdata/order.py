"""The sample order: which rows are in which global batch of an epoch, as a pure function of a few numbers.

1. The run shuffles the shards and cuts their rows into equal parts, one a canonical node. A cut inside a
   shard falls between bag rows, so that no bag row is lost to it. These parts stay for the whole run: a node
   keeps reading the same shards.
2. An epoch shuffles the pieces of shards ("spans") inside each node. Every unit (a bag row in phase (i), a
   row in phase (ii)) then draws a place, uniformly within its reach around its span, and a node's units are
   taken by place. The shuffle algorithm only says how far the reach is.
3. The nodes take turns, one unit each; a node that has no more units is passed over. Cut into global batches,
   that is the order. Nothing is padded, so nothing is repeated; a physical node whose canonical nodes are
   equally long reads only their shards.
4. When phase (i) ends in this epoch, the rows that are in no served bag row go through steps 2 and 3 as rows.
   What is left of a shard whose bag rows were all served is spread over the whole rest of the epoch: fetching
   such shards again for a row or two must not come in one burst.

A row may be m stored rows of one shard, joined. A shard of n stored rows then has n // m rows; which n mod m
stored rows are left out, at its beginning and its end, is drawn for every epoch anew (unshuffled: the last).

Any stretch of batches can be worked out alone (`tstdata.lines`); nothing walks through the ones before.

Sample ids: the row that begins at stored row r is `r`; the bag row that does is `num_rows + r`; -1 is
nothing.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .draws import Ints, below, draw
from .lines import Cut, Line
from .plan import EpochPlan
from .spans import BAGS, JOINED, ROWS, Shuffle, Spans, lay_out, units

# Changes whenever the same arguments would give another order: checkpoints carry it.
ORDER_VERSION = 1


class EpochOrder:
    """The order of one epoch, worked out where it is asked for.

    Args:
        rows_per_shard: Stored rows in each shard.
        plan: What the epoch consists of.
        bag_size: s.
        num_canonical_nodes: In how many parts the shards are read side by side.
        shuffle: How rows are shuffled.
        joined: m, stored rows in a row.
    """

    def __init__(
        self,
        rows_per_shard: Ints,
        plan: EpochPlan,
        bag_size: int,
        num_canonical_nodes: int,
        shuffle: Shuffle,
        joined: int = 1,
    ) -> None:
        self.plan = plan
        self._stored, self._joined = np.asarray(rows_per_shard, np.int64), joined
        # What is left out of a shard before its first row.
        self._heads = np.zeros_like(self._stored)
        if shuffle.algo and joined > 1:
            drawn = draw(np.arange(len(self._stored)), shuffle.seed, plan.epoch, JOINED)
            self._heads = below(self._stored % joined + 1, drawn)
        self._rows = self._stored // joined
        # What may land anywhere needs no nodes.
        nodes = 1 if shuffle.algo == "naive" else num_canonical_nodes
        spans = lay_out(self._rows, bag_size, nodes, shuffle, plan.epoch)
        parts = [spans.of_node(node) for node in np.unique(spans.node)]
        bag_lines = [_bag_line(part, bag_size, shuffle, plan.epoch) for part in parts if plan.bag_batches]
        served: list[_Served | None] = [None] * len(parts)
        if bag_lines and plan.row_batches:
            cuts = _cuts(bag_lines, plan.bag_batches * plan.global_batch_size)
            served = [_Served(line, cut, bag_size) for line, cut in zip(bag_lines, cuts, strict=True)]
        self._bag_lines = bag_lines
        self._row_lines = [
            _row_line(part, gone, shuffle, plan.epoch)
            for part, gone in zip(parts, served, strict=True)
            if plan.row_batches
        ]

    def batches(self, start: int, stop: int) -> Ints:
        """Returns the ids of global batches `start` to `stop`, without it, `[batches, global batch size]`.

        The place of an id inside its batch carries no law; `tstdata.worker_ids` hands them out by it.
        """
        size = self.plan.global_batch_size
        num_bags, num_samples = self.plan.bag_batches * size, self.plan.num_samples
        begin, end = start * size, min(stop * size, num_samples)
        bags = _take_turns(self._bag_lines, min(begin, num_bags), min(end, num_bags))
        rows = _take_turns(self._row_lines, max(begin, num_bags) - num_bags, max(end, num_bags) - num_bags)
        ids = np.full((stop - start) * size, -1, np.int64)
        ids[: len(bags)] = self._stored_rows(bags) + int(self._stored.sum())
        ids[len(bags) : len(bags) + len(rows)] = self._stored_rows(rows)
        return ids.reshape(stop - start, size)

    def _stored_rows(self, rows: Ints) -> Ints:
        """Returns the stored rows at which rows begin."""
        if self._joined == 1:
            return rows
        stops = self._rows.cumsum()
        shard = np.searchsorted(stops, rows, side="right")
        begins = self._stored.cumsum() - self._stored + self._heads
        return begins[shard] + (rows - (stops - self._rows)[shard]) * self._joined


def _bag_line(spans: Spans, bag_size: int, shuffle: Shuffle, epoch: int) -> Line:
    """Returns the bag rows of a node; their ids are their first rows."""

    def first_rows(chosen: Ints) -> Ints:
        which, inside = units(spans.num_bags[chosen])
        return (spans.first + spans.skip)[chosen][which] + inside * bag_size

    shuffle = replace(shuffle, block_size=max(1, shuffle.block_size // bag_size))
    anywhere = np.zeros(len(spans.first), bool)
    return Line(spans, spans.num_bags, anywhere, first_rows, shuffle, epoch, BAGS)


@dataclass(frozen=True)
class _Served:
    """Which bag rows of a node are served in this epoch, of `bag_size` rows each."""

    bags: Line
    cut: Cut
    bag_size: int

    def rows(self, spans: Spans, chosen: Ints, span: Ints, inside: Ints) -> npt.NDArray[np.bool_]:
        """Returns for rows number `inside` of the spans `chosen[span]` whether they are in one."""
        is_served = np.append(self.cut.has(*self.bags.placed(chosen)), False)
        counts = spans.num_bags[chosen]
        bag = (inside - spans.skip[chosen][span]) // self.bag_size
        is_bag = (bag >= 0) & (bag < counts[span])
        return np.asarray(is_served[np.where(is_bag, (counts.cumsum() - counts)[span] + bag, -1)])


def _row_line(spans: Spans, served: _Served | None, shuffle: Shuffle, epoch: int) -> Line:
    """Returns the rows of a node that are in no served bag row (None: there are none)."""

    def rows_left(chosen: Ints) -> Ints:
        which, inside = units(spans.size[chosen])
        rows: Ints = spans.first[chosen][which] + inside
        return rows if served is None else rows[~served.rows(spans, chosen, which, inside)]

    counts, anywhere = spans.size, np.zeros(len(spans.first), bool)
    if served is not None:
        num_served = served.bags.counts_in(served.cut)
        counts = spans.size - num_served * served.bag_size
        if shuffle.algo:  # Unshuffled, what is left over stays in its place.
            anywhere = (num_served > 0) & (num_served == spans.num_bags)
    return Line(spans, counts, anywhere, rows_left, shuffle, epoch, ROWS)


def _units_by_turn(lines: Sequence[Line], turn: int) -> int:
    """Returns how many units the first `turn` turns give."""
    return sum(min(line.num_units, turn) for line in lines)


def _cuts(lines: Sequence[Line], number: int) -> list[Cut]:
    """Returns what each line gives to the first `number` units."""
    turns = range(max(line.num_units for line in lines) + 1)
    turn = bisect_right(turns, number, key=lambda turn: _units_by_turn(lines, turn)) - 1
    rest = number - _units_by_turn(lines, turn)
    cuts = []
    for line in lines:
        more = int(rest > 0 and line.num_units > turn)
        cuts.append(line.cut(min(line.num_units, turn) + more))
        rest -= more
    return cuts


def _take_turns(lines: Sequence[Line], start: int, stop: int) -> Ints:
    """Returns units number `start` up to, without it, `stop` of all lines, which take turns."""
    if start >= stop:
        return np.zeros(0, np.int64)
    turns = range(max(line.num_units for line in lines) + 1)
    first = bisect_right(turns, start, key=lambda turn: _units_by_turn(lines, turn)) - 1
    last = bisect_left(turns, stop, key=lambda turn: _units_by_turn(lines, turn))
    bounds = [(min(line.num_units, first), min(line.num_units, last)) for line in lines]
    ids = np.concatenate([line.units(*bound) for line, bound in zip(lines, bounds, strict=True)])
    turn = np.concatenate([np.arange(*bound) for bound in bounds])
    skipped = start - _units_by_turn(lines, first)
    return ids[np.argsort(turn, kind="stable")][skipped : skipped + stop - start]
