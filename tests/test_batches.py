"""Batches: every document once, in order, within bounds, however a format gave them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tstdata import long_documents, tasks
from tstdata.reading import Run

runs = st.lists(st.lists(st.sampled_from([0, 1, 5, 20, 21, 30, 99]), max_size=12), max_size=8)


@given(sizes=runs)
def test_batches_hold_each_document_once_in_order_and_within_bounds(sizes):
    count = iter(range(1000))
    given_runs = [Run([next(count) for _ in run], ["x" * size for size in run]) for run in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "_BATCH_DOCUMENTS", 4)
        patch.setattr(long_documents, "_PIECE", 20)
        batches = list(tasks._in_batches(iter(given_runs), 30))
    flat = [size for run in sizes for size in run]
    assert [len(text) for batch in batches for text in batch.texts] == flat
    assert [place for batch in batches for place in batch.places] == list(range(len(flat)))
    for batch in batches:
        lengths = [len(text) for text in batch.texts]
        assert 1 <= len(lengths) <= 4
        assert (sum(lengths) <= 30 and max(lengths) <= 20) or len(lengths) == 1
