"""Spans: the pieces of shards that a canonical node reads in an epoch, and in which order."""

from dataclasses import dataclass

import numpy as np

from .draws import Ints, below, draw

SHUFFLE_ALGOS = ("py1e", "py1br", "py1b", "py1s", "py2s", "naive")
# What a draw is for. The numbers are part of the order: see ORDER_VERSION.
RUN, HEADS, SPANS, BAGS, ROWS, BLOCKS, JOINED, TURNS, BEGINS, BASES = range(1, 11)


@dataclass(frozen=True)
class Shuffle:
    """How an epoch is shuffled.

    Args:
        algo: How far from its own span a unit may land. `naive`: anywhere in the epoch; `py1e`: `block_size`
            rows wide around its span; `py1b`, `py1br`: in its block of `block_size` rows, whose borders
            `py1br` moves every epoch; `py1s`, `py2s`: in its span. None: no shuffling at all.
        seed: The run's seed.
        block_size: The reach in rows, in both phases.
    """

    algo: str | None
    seed: int
    block_size: int


@dataclass(frozen=True)
class Spans:
    """Pieces of shards, by node: `size` rows from `first` on, their bag rows from `first + skip` on."""

    first: Ints
    size: Ints
    skip: Ints
    num_bags: Ints
    node: Ints

    def of_node(self, node: int) -> "Spans":
        """Returns the spans of one node."""
        begin, end = np.searchsorted(self.node, [node, node + 1])
        parts = (self.first, self.size, self.skip, self.num_bags, self.node)
        return Spans(*(part[begin:end] for part in parts))


def lay_out(rows: Ints, bag_size: int, num_nodes: int, shuffle: Shuffle, epoch: int) -> Spans:
    """Cuts shards of so many rows into one part a canonical node, in the order that `epoch` reads them in."""
    shards = np.arange(len(rows))
    heads = np.zeros_like(rows)
    if shuffle.algo:
        shards = np.argsort(draw(shards, shuffle.seed, RUN), kind="stable")
        # Where a shard's bag rows begin varies, so that the rows they leave over vary too.
        heads = below(rows % bag_size + 1, draw(np.arange(len(rows)), shuffle.seed, epoch, HEADS))
    stops = rows[shards].cumsum()
    starts = stops - rows[shards]
    cuts = int(stops[-1]) * np.arange(1, num_nodes) // num_nodes
    at = np.searchsorted(stops, cuts, side="right")
    inside, head = cuts - starts[at], heads[shards[at]]
    cuts = starts[at] + np.where(inside < head, 0, inside - (inside - head) % bag_size)

    begins = np.unique(np.concatenate([starts[rows[shards] > 0], cuts]))
    at = np.searchsorted(stops, begins, side="right")
    first = (rows.cumsum() - rows)[shards[at]] + begins - starts[at]
    size = np.diff(begins, append=stops[-1])
    skip = np.where(begins == starts[at], np.minimum(heads[shards[at]], size), 0)
    node = np.searchsorted(cuts, begins, side="right")
    if shuffle.algo:
        turn = np.lexsort((draw(first, shuffle.seed, epoch, SPANS), node))
        first, size, skip, node = first[turn], size[turn], skip[turn], node[turn]
    return Spans(first, size, skip, (size - skip) // bag_size, node)


def units(counts: Ints) -> tuple[Ints, Ints]:
    """Returns, for `counts` units a span, each unit's span and its number inside the span."""
    span = np.repeat(np.arange(len(counts)), counts)
    return span, np.arange(len(span)) - np.repeat(counts.cumsum() - counts, counts)
