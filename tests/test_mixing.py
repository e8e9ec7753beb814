"""Mixed streams: what an epoch draws, and the laws of the order over it, beside dumb references."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from references import drawn_pieces, sample_order

from tstdata import lines
from tstdata.mixing import DrawnOrder, Mixture
from tstdata.order import EpochOrder
from tstdata.plan import SuperpositionPlan
from tstdata.spans import SHUFFLE_ALGOS, Shuffle
from tstdata.worker_ids import Seat, WorkerIds


@pytest.fixture(autouse=True, scope="module")
def small_windows():
    """Windows of a few places, drawn a few spans at a time: else these datasets would lie in one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_WINDOW", (3, 64))
        patch.setattr(lines, "_DRAWN_AT_ONCE", 20)
        yield


@st.composite
def mixtures(draw):
    """Streams of a few shards, of which an epoch draws nothing, a part, all of it, or several times that."""
    streams = draw(st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=4), min_size=1, max_size=3))
    joined = draw(st.sampled_from([1, 1, 1, 2, 3]))
    drawn = []
    for sizes in streams:
        num_rows = sum(n // joined for n in sizes)
        assume(num_rows)
        drawn.append(draw(st.one_of(st.integers(0, 3 * num_rows), st.just(num_rows), st.just(2 * num_rows))))
    sizes = np.array([n for stream in streams for n in stream])
    stream = np.array([number for number, stream in enumerate(streams) for _ in stream])
    return Mixture(sizes, stream, tuple(drawn), draw(st.integers(1, 5)), joined)


@st.composite
def runs(draw, batch_size=None):
    """A mixture with a plan that it can fill, and how it is shuffled."""
    mixture, batch_size = draw(mixtures()), batch_size or draw(st.integers(1, 6))
    assume(mixture.num_rows >= batch_size)
    most = 2 * (mixture.num_bag_rows // batch_size) + 2
    batches = draw(st.integers(0, most)) if mixture.num_bag_rows >= batch_size else 0
    plan = SuperpositionPlan(
        mixture.num_rows, mixture.num_bag_rows, mixture.bag_size, batches, batch_size, draw(st.booleans())
    )
    algo = draw(st.sampled_from([None, *SHUFFLE_ALGOS]))
    shuffle = Shuffle(algo, draw(st.integers(0, 2**32)), draw(st.integers(1, 50)))
    return mixture, plan, draw(st.sampled_from([1, 2, 3, 8, 64])), shuffle


def order_of(run, epoch):
    mixture, plan, num_nodes, shuffle = run
    return mixture.order(plan.epoch(epoch), num_nodes, shuffle)


def batches_of(run, epoch):
    return order_of(run, epoch).batches(0, run[1].epoch(epoch).num_batches)


def stored_rows(mixture, ids):
    """The stored rows that samples are made of, one by one; all of each sample in one shard."""
    num_stored = int(mixture.rows_per_shard.sum())
    shard = np.repeat(np.arange(len(mixture.rows_per_shard)), mixture.rows_per_shard)
    found = []
    for sample in ids[ids >= 0].tolist():
        first = sample % num_stored
        rows = range(first, first + mixture.joined * (mixture.bag_size if sample >= num_stored else 1))
        assert len({int(shard[row]) for row in rows}) == 1
        found += rows
    return found


@settings(max_examples=200, deadline=None)
@given(mixture=mixtures(), epoch=st.integers(0, 5), seed=st.integers(0, 2**32))
def test_the_pieces_of_an_epoch_equal_those_dealt_out_one_bag_at_a_time(mixture, epoch, seed):
    pieces = mixture.pieces(epoch, seed)
    expected = drawn_pieces(
        mixture.rows_per_shard.tolist(),
        mixture.stream_of_shard.tolist(),
        mixture.drawn,
        mixture.bag_size,
        mixture.joined,
        seed,
        epoch,
    )
    assert list(zip(pieces.first.tolist(), pieces.size.tolist(), strict=True)) == expected


@settings(max_examples=200, deadline=None)
@given(mixture=mixtures(), seed=st.integers(0, 2**32))
def test_every_epoch_draws_as_many_rows_and_bags_of_each_stream_and_each_row_once_a_draw(mixture, seed):
    shard = np.repeat(np.arange(len(mixture.rows_per_shard)), mixture.rows_per_shard)
    for epoch in range(3):
        pieces = mixture.pieces(epoch, seed)
        rows = pieces.size // mixture.joined
        assert (rows // mixture.bag_size).sum() == mixture.num_bag_rows
        of_pieces = [
            range(a, a + n) for a, n in zip(pieces.first.tolist(), pieces.size.tolist(), strict=True)
        ]
        drawn = Counter(row for piece in of_pieces for row in piece)
        for piece in of_pieces:
            assert len({int(shard[row]) for row in piece}) <= 1
        for stream, (wanted, held) in enumerate(zip(mixture.drawn, mixture.rows_per_stream, strict=True)):
            own = [
                size
                for first, size in zip(pieces.first, rows, strict=True)
                if size and mixture.stream_of_shard[shard[first]] == stream
            ]
            assert sum(own) == wanted
            times = [drawn[r] for r in np.flatnonzero(mixture.stream_of_shard[shard] == stream).tolist()]
            assert max(times) <= -(-wanted // held)
            if mixture.joined == 1:
                assert min(times) >= wanted // held


@settings(max_examples=200, deadline=None)
@given(run=runs(), epoch=st.integers(0, 3))
def test_an_epoch_serves_each_row_at_most_once_a_draw_and_leaves_out_only_an_unfilled_batch(run, epoch):
    mixture, plan, _, shuffle = run
    ids = batches_of(run, epoch).ravel()
    served = Counter(stored_rows(mixture, ids))
    pieces = mixture.pieces(epoch, shuffle.seed)
    drawn = Counter(
        row
        for first, size in zip(pieces.first.tolist(), pieces.size.tolist(), strict=True)
        for row in range(first, first + size)
    )
    assert not served - drawn
    if epoch >= plan.switch_epoch:
        left_out = mixture.num_rows - served.total() // mixture.joined
        assert left_out < (plan.global_batch_size if plan.drop_last else 1)


@settings(max_examples=200, deadline=None)
@given(run=runs())
def test_the_first_batches_of_training_are_all_bag_rows_and_no_later_one_has_any(run):
    mixture, plan, _, _ = run
    num_stored, batch = mixture.rows_per_shard.sum(), 0
    for epoch in range(plan.switch_epoch + 2):
        for ids in batches_of(run, epoch):
            ids = ids[ids >= 0]
            assert len(ids)
            assert ((ids >= num_stored) == (batch < plan.superposition_batches)).all()
            batch += 1


@settings(max_examples=150, deadline=None)
@given(run=runs(), epoch=st.integers(0, 3))
def test_an_epoch_equals_the_dumb_order_over_its_pieces(run, epoch):
    mixture, plan, num_nodes, shuffle = run
    assume(mixture.joined == 1)
    pieces = mixture.pieces(epoch, shuffle.seed)
    wanted = plan.epoch(epoch)
    num_bags = wanted.bag_batches * plan.global_batch_size
    bags, rows = sample_order(
        pieces.size.tolist(),
        plan.bag_size,
        num_bags,
        num_nodes,
        (shuffle.algo, shuffle.seed, shuffle.block_size),
        epoch,
    )
    stored = [
        first + k
        for first, size in zip(pieces.first.tolist(), pieces.size.tolist(), strict=True)
        for k in range(size)
    ]
    expected = [stored[row] + int(mixture.rows_per_shard.sum()) for row in bags]
    expected += [stored[row] for row in rows[: wanted.num_samples - num_bags]]
    ids = batches_of(run, epoch).ravel().tolist()
    assert ids == expected + [-1] * (len(ids) - len(expected))


@settings(max_examples=60, deadline=None)
@given(run=runs(batch_size=4), epoch=st.integers(0, 3), data=st.data())
def test_every_layout_reads_the_same_rows_in_each_global_batch_from_any_batch_on(run, epoch, data):
    whole, order = batches_of(run, epoch), order_of(run, epoch)
    done = data.draw(st.integers(0, len(whole)))
    for num_nodes, num_ranks, num_workers in ((1, 4, 1), (2, 2, 2), (1, 2, 3), (4, 1, 1)):
        per_rank = 4 // (num_nodes * num_ranks)
        read = [[] for _ in range(len(whole) - done)]
        for node in range(num_nodes):
            for rank in range(num_ranks):
                for worker in range(num_workers):
                    seat = Seat(node, num_nodes, rank, num_ranks, worker, num_workers)
                    ids = list(WorkerIds(order, done, seat))
                    for place in range(0, len(ids), per_rank):
                        batch = place // per_rank * num_workers + worker
                        own = [i for i in ids[place : place + per_rank] if i >= 0]
                        assert not own or batch < len(read)
                        if own:
                            read[batch] += own
        assert [sorted(batch) for batch in read] == [sorted(b[b >= 0].tolist()) for b in whole[done:]]


def test_streams_without_weights_are_in_the_order_of_one_dataset_of_all_their_shards():
    sizes = np.array([10, 7, 20])
    plan = SuperpositionPlan.of_shards(sizes.tolist(), 3, 2, 4).epoch(0)
    mixture = Mixture(sizes, np.array([0, 0, 1]), (17, 20), 3)
    mixed = mixture.order(plan, 2, Shuffle("py1e", 5, 10))
    assert not isinstance(mixed, DrawnOrder)
    alone = EpochOrder(sizes, plan, 3, 2, Shuffle("py1e", 5, 10))
    assert np.array_equal(mixed.batches(0, 7), alone.batches(0, 7))


def test_a_part_draws_of_every_shard_evenly_and_other_rows_each_epoch():
    mixture = Mixture(np.full(10, 100), np.zeros(10, int), (250,), 5)
    seen = []
    for epoch in range(40):
        pieces = mixture.pieces(epoch, 9)
        taken = pieces.size.reshape(10, 2).sum(1)
        assert set(taken.tolist()) == {25}
        rows = [np.arange(a, a + n) for a, n in zip(pieces.first, pieces.size, strict=True)]
        seen.append(np.concatenate(rows))
    counts = np.bincount(np.concatenate(seen), minlength=1000)
    # A quarter of 40 epochs; a shard's rows come together, so that they vary more than coins would.
    assert counts.min() >= 1
    assert abs(counts.reshape(10, 10, 10).mean((0, 2)) - 10).max() < 3


def test_fewer_bags_than_shards_come_from_other_shards_each_epoch():
    mixture = Mixture(np.full(50, 100), np.zeros(50, int), (20,), 4)
    shards = set()
    for epoch in range(40):
        pieces = mixture.pieces(epoch, 9)
        shards |= set((pieces.first[pieces.size > 0] // 100).tolist())
    assert len(shards) == 50


def test_the_draws_are_what_this_version_has_always_been():
    mixture = Mixture(np.array([10, 7, 20]), np.array([0, 0, 1]), (25, 9), 3)
    pieces = mixture.pieces(1, 17)
    # A change here breaks the resumption of checkpoints over weighted streams: raise ORDER_VERSION with it.
    assert list(zip(pieces.first.tolist(), pieces.size.tolist(), strict=True)) == [
        (0, 10),
        (3, 5),
        (0, 0),
        (10, 7),
        (12, 3),
        (10, 0),
        (19, 9),
        (17, 0),
    ]
