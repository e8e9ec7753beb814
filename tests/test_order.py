"""The sample order: its laws over many datasets and layouts, and the dumb order that it must equal."""

import hashlib

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from references import joined_rows, sample_order

from tstdata import lines, worker_ids
from tstdata.order import ORDER_VERSION, EpochOrder
from tstdata.plan import SuperpositionPlan
from tstdata.spans import SHUFFLE_ALGOS, Shuffle
from tstdata.worker_ids import Seat, WorkerIds

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=7)
ALGOS = st.sampled_from([None, *SHUFFLE_ALGOS])
BATCH_SIZES = st.integers(1, 8)
NODES = st.sampled_from([1, 2, 3, 8, 64])


@pytest.fixture(autouse=True, scope="module")
def small_windows():
    """Windows of a few places, drawn a few spans at a time: else these datasets would lie in one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_WINDOW", (3, 64))
        patch.setattr(lines, "_DRAWN_AT_ONCE", 20)
        yield


@st.composite
def runs(draw, batch_sizes=BATCH_SIZES):
    """A plan that is possible, with all that the order depends on: P = 0, some or all, over epochs."""
    sizes, joined = draw(SIZES), draw(st.sampled_from([1, 1, 2, 3]))
    rows = [n // joined for n in sizes]
    assume(sum(rows))
    bag_size, batch_size = draw(st.integers(1, 6)), draw(batch_sizes)
    bags = sum(n // bag_size for n in rows)
    batches = draw(st.integers(0, 2 * (bags // batch_size) + 2)) if bags >= batch_size else 0
    drop_last = draw(st.booleans()) and sum(rows) >= batch_size
    plan = SuperpositionPlan.of_shards(rows, bag_size, batches, batch_size, drop_last)
    shuffle = Shuffle(draw(ALGOS), draw(st.integers(0, 2**32)), draw(st.integers(1, 50)))
    return np.array(sizes), plan, draw(NODES), shuffle, joined


def epoch_order(run, epoch):
    sizes, plan, num_nodes, shuffle, joined = run
    return EpochOrder(sizes, plan.epoch(epoch), plan.bag_size, num_nodes, shuffle, joined)


def order_of(run, epoch):
    return epoch_order(run, epoch).batches(0, run[1].epoch(epoch).num_batches)


def epoch_batches(sizes, plan, bag_size, num_nodes, shuffle):
    return EpochOrder(sizes, plan, bag_size, num_nodes, shuffle).batches(0, plan.num_batches)


def shared_out(order, done, num_nodes, num_ranks, num_workers):
    """The batches of each node's each rank's each worker."""
    per_rank = order.plan.global_batch_size // (num_nodes * num_ranks)
    return [
        [
            [
                np.array(list(WorkerIds(order, done, Seat(n, num_nodes, r, num_ranks, w, num_workers))))
                .astype(np.int64)
                .reshape(-1, per_rank)
                for w in range(num_workers)
            ]
            for r in range(num_ranks)
        ]
        for n in range(num_nodes)
    ]


def rows_of(ids, num_rows, bag_size, joined):
    """The stored rows of a batch, one by one."""
    return [
        int(i) - num_rows + k if i >= num_rows else int(i) + k
        for i in ids
        for k in range(bag_size * joined if i >= num_rows else joined)
    ]


@settings(max_examples=300, deadline=None)
@given(run=runs(), epoch=st.integers(0, 4))
def test_an_epoch_equals_the_dumb_order(run, epoch):
    sizes, plan, num_nodes, shuffle, joined = run
    wanted = plan.epoch(epoch)
    num_bags = wanted.bag_batches * plan.global_batch_size
    bags, rows = sample_order(
        (sizes // joined).tolist(),
        plan.bag_size,
        num_bags,
        num_nodes,
        (shuffle.algo, shuffle.seed, shuffle.block_size),
        epoch,
    )
    assert len(bags) == num_bags
    begins = joined_rows(sizes.tolist(), joined, shuffle.seed if shuffle.algo else None, epoch)
    expected = [begins[first] + int(sizes.sum()) for first in bags]
    expected += [begins[row] for row in rows[: wanted.num_samples - num_bags]]
    ids = order_of(run, epoch).ravel().tolist()
    assert ids == expected + [-1] * (len(ids) - len(expected))


@settings(max_examples=300, deadline=None)
@given(run=runs())
def test_each_row_is_served_at_most_once_an_epoch_and_only_an_unfilled_batch_is_left_out(run):
    sizes, plan, _, _, joined = run
    for epoch in range(plan.switch_epoch + 2):
        ids = order_of(run, epoch).ravel()
        served = rows_of(ids[ids >= 0], sizes.sum(), plan.bag_size, joined)
        assert len(served) == len(set(served))
        if epoch >= plan.switch_epoch:
            left_out = (sizes // joined).sum() - len(served) // joined
            assert left_out < (plan.global_batch_size if plan.drop_last else 1)


@settings(max_examples=200, deadline=None)
@given(run=runs())
def test_the_first_batches_of_training_are_all_bag_rows_and_no_later_one_has_any(run):
    sizes, plan, _, _, joined = run
    shard = np.repeat(np.arange(len(sizes)), sizes)
    batch = 0
    for epoch in range(plan.switch_epoch + 2):
        for ids in order_of(run, epoch):
            ids = ids[ids >= 0]
            assert ((ids >= sizes.sum()) == (batch < plan.superposition_batches)).all()
            for first in ids[ids >= sizes.sum()] - sizes.sum():
                assert len(shard[first : first + plan.bag_size * joined]) == plan.bag_size * joined
                assert len(set(shard[first : first + plan.bag_size * joined].tolist())) == 1
            for first in ids[ids < sizes.sum()]:
                assert len(set(shard[first : first + joined].tolist())) == 1
            batch += 1


@settings(max_examples=200, deadline=None)
@given(run=runs(), epoch=st.integers(0, 3), data=st.data())
def test_any_stretch_of_batches_worked_out_alone_is_that_of_the_whole_epoch(run, epoch, data):
    whole = order_of(run, epoch)
    order = epoch_order(run, epoch)
    for _ in range(3):
        start = data.draw(st.integers(0, len(whole)))
        stop = data.draw(st.integers(start, len(whole)))
        assert np.array_equal(order.batches(start, stop), whole[start:stop])


@pytest.mark.parametrize("at_once", [1, 7, 1 << 16])
def test_a_stretch_of_a_workers_ids_is_its_ids_one_by_one(monkeypatch, at_once):
    monkeypatch.setattr(worker_ids, "_IDS_AT_ONCE", at_once)
    sizes = np.array([9, 14, 6])
    plan = SuperpositionPlan.of_shards(sizes, 2, 3, 4, drop_last=False)
    order = EpochOrder(sizes, plan.epoch(0), 2, 1, Shuffle(None, 0, 1))
    ids = WorkerIds(order, 1, Seat(workers_per_rank=2))
    for start in range(len(ids)):
        for stop in range(start, len(ids) + 3):
            assert ids[start:stop] == [ids[at] for at in range(start, min(stop, len(ids)))]


@settings(max_examples=50, deadline=None)
@given(run=runs(), epoch=st.integers(0, 2), done=st.integers(0, 5))
def test_every_layout_serves_the_same_rows_in_each_global_batch(run, epoch, done):
    order, done = epoch_order(run, epoch), min(done, run[1].epoch(epoch).num_batches)
    batches = order_of(run, epoch)[done:]
    size = batches.shape[1]
    layouts = [(n, r, w) for n in (1, 2, 4) for r in (1, 2, 3) for w in (1, 2, 3) if size % (n * r) == 0]
    for num_nodes, num_ranks, num_workers in layouts:
        shared = shared_out(order, done, num_nodes, num_ranks, num_workers)
        by_rank = [as_dataloader(workers) for node in shared for workers in node]
        for number, batch in enumerate(batches):
            parts = [rank[number] if number < len(rank) else [] for rank in by_rank]
            assert sorted(i for part in parts for i in part) == sorted(batch[batch >= 0].tolist())
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert all(len(rank) <= len(batches) for rank in by_rank)


@settings(max_examples=60, deadline=None)
@given(run=runs(batch_sizes=st.just(8)), epoch=st.integers(0, 3), data=st.data())
def test_a_run_that_changes_its_layout_at_boundaries_reads_what_it_would_have_read_on_one(run, epoch, data):
    order, whole = epoch_order(run, epoch), order_of(run, epoch)
    read, done = [], 0
    # The batch of a rank is 1, 1, then 2: doubled with half the ranks.
    for num_nodes, num_ranks in ((1, 8), (2, 4), (1, 4)):
        last = (num_nodes, num_ranks) == (1, 4)
        until = len(whole) if last else data.draw(st.integers(done, len(whole)))
        workers = data.draw(st.integers(1, 3))
        shared = shared_out(order, done, num_nodes, num_ranks, workers)
        by_rank = [as_dataloader(of_rank) for node in shared for of_rank in node]
        for number in range(until - done):
            read.append(sorted(i for rank in by_rank if number < len(rank) for i in rank[number]))
        done = until
    assert read == [sorted(batch[batch >= 0].tolist()) for batch in whole]


def as_dataloader(workers):
    """What a torch DataLoader yields: a batch of each worker in turn, until all have ended."""
    lists = [[[i for i in batch.tolist() if i >= 0] for batch in worker] for worker in workers]
    turns = [worker[k] for k in range(max(map(len, lists))) for worker in lists if k < len(worker)]
    return [batch for batch in turns if batch]


def test_a_node_reads_only_the_shards_of_its_canonical_nodes():
    sizes = np.full(64, 100)
    plan = SuperpositionPlan.of_shards(sizes.tolist(), 4, 50, 8)
    shuffle = Shuffle("py1e", 9176, 400)
    for epoch in (0, 1):
        shared = shared_out(EpochOrder(sizes, plan.epoch(epoch), 4, 8, shuffle), 0, 2, 2, 1)
        read = [
            {int(i) % sizes.sum() // 100 for i in np.concatenate(node, axis=None) if i >= 0}
            for node in shared
        ]
        assert len(read[0] | read[1]) == 64
        # Rows that a node cannot pair with one of the other's may go over to it.
        assert len(read[0] & read[1]) <= 2


@pytest.mark.parametrize("algo", ["py1e", "py1br", "py1b", "py1s"])
def test_shuffling_keeps_rows_of_a_shard_within_their_reach(algo):
    sizes, block = np.full(100, 50), 500
    plan = SuperpositionPlan.of_shards(sizes.tolist(), 1, 0, 10)
    ids = epoch_batches(sizes, plan.epoch(0), 1, 1, Shuffle(algo, 3, block)).ravel()
    at = np.argsort(ids).reshape(100, 50)
    spread = at.max(1) - at.min(1)
    # A shard may lie across a border between blocks, and then its rows go to both.
    assert spread.max() < {"py1s": 50, "py1e": block + 50, "py1b": 2 * block, "py1br": 2 * block}[algo]
    assert not np.array_equal(np.sort(ids), ids)


def test_epochs_and_seeds_give_other_orders_and_other_bags():
    sizes = np.array([53, 47, 61])
    plan = SuperpositionPlan.of_shards(sizes.tolist(), 4, 10**6, 4)
    orders = [
        epoch_batches(sizes, plan.epoch(e), 4, 1, Shuffle("py1e", s, 500))
        for e, s in ((0, 1), (1, 1), (0, 2))
    ]
    assert len({order.tobytes() for order in orders}) == 3
    assert len({tuple(np.sort(order.ravel()).tolist()) for order in orders}) == 3


def test_unshuffled_rows_come_in_the_order_of_the_dataset():
    sizes = np.array([7, 9])
    plan = SuperpositionPlan.of_shards(sizes.tolist(), 3, 2, 2)
    ids = epoch_batches(sizes, plan.epoch(0), 3, 1, Shuffle(None, 1, 1)).ravel().tolist()
    assert ids == [16, 19, 23, 26, 6, 13, 14, 15]


def test_the_order_is_what_this_version_has_always_been():
    sizes = np.array([100, 37, 64, 5, 81])
    plan = SuperpositionPlan.of_shards(sizes.tolist(), 3, 7, 6)
    digest = hashlib.sha256()
    for algo in (None, *SHUFFLE_ALGOS):
        for epoch in range(3):
            digest.update(
                epoch_batches(sizes, plan.epoch(epoch), 3, 4, Shuffle(algo, 9176, 40)).astype("<i8").tobytes()
            )
    # A change here breaks the resumption of every checkpoint: raise ORDER_VERSION with it.
    assert (ORDER_VERSION, digest.hexdigest()[:16]) == (1, "7a68af346bb696a0")
