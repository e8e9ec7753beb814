"""Groups of batches: whatever a worker sends at once, batches come one at a time in the epoch's order."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._utils import ExceptionWrapper

from tstdata.batch_groups import BatchGroup, batches_at_once, group_rows, in_turn
from tstdata.stored_batch import BatchForm


def groups_of(batches, num_workers, at_once, failing=None):
    """What torch hands over: workers read every num_workers-th batch and send some at once, in turn."""
    sent = []
    for worker in range(num_workers):
        mine, failure = batches[worker::num_workers], None
        if failing is not None and failing % num_workers == worker:
            mine, failure = mine[: failing // num_workers], failure_of("no shard")
        cut = [mine[first : first + at_once] for first in range(0, len(mine), at_once)]
        sent.append([BatchGroup(worker, group, None) for group in cut])
        if failure is not None:
            last = sent[-1].pop() if sent[-1] else BatchGroup(worker, [], None)
            sent[-1].append(BatchGroup(worker, last.batches, failure))
    turns = itertools.zip_longest(*sent)
    return (group for turn in turns for group in turn if group is not None)


def failure_of(message):
    try:
        raise OSError(message)
    except OSError:
        return ExceptionWrapper(where="in a test")


@settings(max_examples=200, deadline=None)
@given(num_batches=st.integers(0, 40), num_workers=st.integers(1, 5), at_once=st.integers(1, 9))
def test_batches_come_in_the_order_that_one_process_would_read_them(num_batches, num_workers, at_once):
    batches = list(range(num_batches))
    assert list(in_turn(groups_of(batches, num_workers, at_once), num_workers)) == batches


@settings(max_examples=200, deadline=None)
@given(data=st.data(), num_workers=st.integers(1, 5), at_once=st.integers(1, 9))
def test_what_a_worker_fails_with_comes_after_every_batch_before_it(data, num_workers, at_once):
    batches = list(range(data.draw(st.integers(1, 40))))
    failing = data.draw(st.integers(0, len(batches) - 1))
    served = []
    with pytest.raises(OSError, match="no shard"):
        served.extend(in_turn(groups_of(batches, num_workers, at_once, failing), num_workers))
    assert served == batches[:failing]


def test_rows_become_batches_of_one_length_each_and_a_short_one_last():
    rows = [{"input_ids": np.full(6 if row < 4 else 2, row, np.uint16)} for row in range(7)]
    group = group_rows(rows, 0, 2, BatchForm())
    assert [batch.ids.shape for batch in group.batches] == [(2, 6), (2, 6), (2, 2), (1, 2)]
    assert [batch.ids[:, 0].tolist() for batch in group.batches] == [[0, 1], [2, 3], [4, 5], [6]]


def test_a_batch_that_a_failure_leaves_unfinished_is_none():
    rows = [{"input_ids": np.zeros(2, np.uint16)}] * 5
    group = group_rows([*rows, failure_of("no shard")], 0, 2, BatchForm())
    assert [len(batch.ids) for batch in group.batches] == [2, 2]
    assert group.failure is not None
    assert not group_rows([failure_of("no shard")], 0, 2, BatchForm()).batches


def test_small_batches_are_sent_by_the_quarter_megabyte_eight_at_most_and_large_ones_alone():
    sizes = (8, 32 << 10, 70_000, 200_000, 1 << 18, 1 << 24)
    assert [batches_at_once(size) for size in sizes] == [8, 8, 3, 1, 1, 1]
