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

Randomness is a hash of (seed, epoch, purpose, id): it depends on no library's generator, on no drawing order,
and on no layout.

Sample ids: row r is `r`; the bag row that begins at row r is `num_rows + r`; -1 is nothing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .plan import EpochPlan

# Changes whenever the same arguments would give another order: checkpoints carry it.
ORDER_VERSION = 1
SHUFFLE_ALGOS = ("py1e", "py1br", "py1b", "py1s", "py2s", "naive")
_RUN, _HEADS, _SPANS, _BAGS, _ROWS, _BLOCKS = range(1, 7)
_WORD = (1 << 64) - 1

Ints = npt.NDArray[np.int64]


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
class _Spans:
    """Pieces of shards, by node: `size` rows from `first` on, their bag rows from `first + skip` on."""

    first: Ints
    size: Ints
    skip: Ints
    num_bags: Ints
    node: Ints


def epoch_batches(
    rows_per_shard: Ints, plan: EpochPlan, bag_size: int, num_canonical_nodes: int, shuffle: Shuffle
) -> Ints:
    """Returns the sample ids of every global batch of an epoch, `[batches, global batch size]`.

    The place of an id inside its batch carries no law; `share_batches` hands them to nodes and ranks by it.
    """
    rows = np.asarray(rows_per_shard, np.int64)
    # What may land anywhere needs no nodes.
    nodes = 1 if shuffle.algo == "naive" else num_canonical_nodes
    spans = _lay_out(rows, bag_size, nodes, shuffle, plan.epoch)
    size, num_rows = plan.global_batch_size, int(rows.sum())
    ids = np.full(plan.num_batches * size, -1, np.int64)
    used = np.zeros(num_rows, bool)
    finished = np.zeros(len(spans.first), bool)
    num_bags = plan.bag_batches * size
    if num_bags:
        bags = _bag_order(spans, bag_size, shuffle, plan.epoch)[:num_bags]
        ids[:num_bags] = num_rows + bags
        used[(bags[:, None] + np.arange(bag_size)).ravel()] = True
        if shuffle.algo:  # Unshuffled, what is left over stays in its place.
            finished = (spans.num_bags > 0) & (_used_per_span(spans, used) == spans.num_bags * bag_size)
    if plan.row_batches:
        left = _row_order(spans, used, finished, shuffle, plan.epoch)
        num_left = plan.num_samples - num_bags
        ids[num_bags : num_bags + num_left] = left[:num_left]
    return ids.reshape(plan.num_batches, size)


def share_batches(batches: Ints, num_nodes: int, ranks_per_node: int, workers_per_rank: int) -> Ints:
    """Shares global batches out to nodes, ranks and workers, as Streaming expects it.

    Returns `[nodes, ranks per node, workers per rank, batches per worker, rows per rank]`.

    Nodes take turns inside a batch, as canonical nodes do, then ranks; a rank's workers take turns by batch,
    as the torch DataLoader reads them. Workers without a last batch get -1 for it.
    """
    num_batches, size = batches.shape
    per_rank, rest = divmod(size, num_nodes * ranks_per_node)
    assert not rest, f"{size} rows do not divide over {num_nodes} x {ranks_per_node} ranks"
    per_worker = -(-num_batches // workers_per_rank)
    padded = np.full((per_worker * workers_per_rank, size), -1, np.int64)
    padded[:num_batches] = batches
    shared = padded.reshape(per_worker, workers_per_rank, per_rank, ranks_per_node, num_nodes)
    return np.ascontiguousarray(shared.transpose(4, 3, 1, 0, 2))


def _lay_out(rows: Ints, bag_size: int, num_nodes: int, shuffle: Shuffle, epoch: int) -> _Spans:
    """Cuts the shards into one part a canonical node, and orders the pieces as this epoch reads them."""
    shards = np.arange(len(rows))
    heads = np.zeros_like(rows)
    if shuffle.algo:
        shards = np.argsort(_draw(shards, shuffle.seed, _RUN), kind="stable")
        # Where a shard's bag rows begin varies, so that the rows they leave over vary too.
        heads = _below(rows % bag_size + 1, _draw(np.arange(len(rows)), shuffle.seed, epoch, _HEADS))
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
        turn = np.lexsort((_draw(first, shuffle.seed, epoch, _SPANS), node))
        first, size, skip, node = first[turn], size[turn], skip[turn], node[turn]
    return _Spans(first, size, skip, (size - skip) // bag_size, node)


def _bag_order(spans: _Spans, bag_size: int, shuffle: Shuffle, epoch: int) -> Ints:
    """Returns the first row of every bag row, in order."""
    span, inside = _units(spans.num_bags)
    first = spans.first[span] + spans.skip[span] + inside * bag_size
    anywhere = np.zeros(len(spans.first), bool)
    block_size = max(1, shuffle.block_size // bag_size)
    return first[_turns(spans, spans.num_bags, anywhere, first, shuffle, block_size, epoch, _BAGS)]


def _row_order(
    spans: _Spans, used: npt.NDArray[np.bool_], finished: npt.NDArray[np.bool_], shuffle: Shuffle, epoch: int
) -> Ints:
    """Returns every row that is in no served bag row, in order."""
    span, inside = _units(spans.size)
    row = spans.first[span] + inside
    row = row[~used[row]]
    counts = spans.size - _used_per_span(spans, used)
    return row[_turns(spans, counts, finished, row, shuffle, shuffle.block_size, epoch, _ROWS)]


def _turns(
    spans: _Spans,
    counts: Ints,
    anywhere: npt.NDArray[np.bool_],
    ids: Ints,
    shuffle: Shuffle,
    block_size: int,
    epoch: int,
    purpose: int,
) -> Ints:
    """Returns the order of units, `counts` a span, as indices: by place in a node, nodes taking turns."""
    span, inside = _units(counts)
    # Positions count along a node; spans whose units go anywhere take no room there.
    room = np.where(anywhere, 0, counts)
    length = np.bincount(spans.node, weights=room, minlength=1).astype(np.int64)
    begin = room.cumsum() - room - (length.cumsum() - length)[spans.node]
    if shuffle.algo == "py1br":
        begin = begin + _below(block_size, _draw(spans.node, shuffle.seed, epoch, _BLOCKS))
    node = spans.node[span]
    low, high = _reach(begin[span], inside, room[span], length[node], shuffle.algo, block_size)
    if shuffle.algo:
        low = np.where(anywhere[span], 0, low)
        high = np.where(anywhere[span], np.maximum(length, 1)[node], high)
    share = (_draw(ids, shuffle.seed, epoch, purpose) >> np.uint64(11)) * 2.0**-53
    place = low + share * (high - low)
    by_place = np.lexsort((place, node))
    per_node = np.bincount(node, minlength=1)
    turn = np.arange(len(ids)) - np.repeat(per_node.cumsum() - per_node, per_node)
    return by_place[np.argsort(turn, kind="stable")]


def _reach(
    begin: Ints, inside: Ints, count: Ints, length: Ints, algo: str | None, block_size: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Returns where in its node each unit may land: from `low` up to, without it, `high`."""
    if algo == "naive":
        return np.zeros_like(begin), length
    if algo == "py1e":
        slack = np.maximum(block_size - count, 0) / 2
        return np.maximum(begin - slack, 0), np.minimum(begin + count + slack, length)
    if algo in ("py1s", "py2s"):
        return begin, begin + count
    if algo in ("py1b", "py1br"):
        low = (begin + inside) // block_size * block_size
        return low, low + block_size
    return begin + inside, begin + inside + 1


def _units(counts: Ints) -> tuple[Ints, Ints]:
    """Returns, for `counts` units a span, each unit's span and its number inside the span."""
    span = np.repeat(np.arange(len(counts)), counts)
    return span, np.arange(len(span)) - np.repeat(counts.cumsum() - counts, counts)


def _used_per_span(spans: _Spans, used: npt.NDArray[np.bool_]) -> Ints:
    before = np.concatenate([[0], used.cumsum()])
    return np.asarray(before[spans.first + spans.size] - before[spans.first], np.int64)


def _below(bound: Ints | int, draws: npt.NDArray[np.uint64]) -> Ints:
    """Returns draws as numbers from 0 up to, without it, `bound`."""
    return (draws % np.asarray(bound, np.uint64)).astype(np.int64)


def _draw(ids: Ints, *salts: int) -> npt.NDArray[np.uint64]:
    """Returns 64 even bits for each id (>= 0): splitmix64's finaliser over the salts, then over the ids."""
    state = np.zeros(1, np.uint64)
    for salt in salts:
        state = _mix(state + np.uint64(salt & _WORD))
    return _mix(state + ids.astype(np.uint64))


def _mix(word: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    word = word + np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
