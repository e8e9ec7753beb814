"""Where a row lies: as Streaming's own table says, without the table."""

import numpy as np
import pytest
from handmade_shards import write_shards
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming.base import dataset as streamings_own
from streaming.base.spanner import Spanner

from tstdata import StreamingBagDataset
from tstdata.rows import BagSpanner, RowSpanner


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(1, 600), min_size=1, max_size=20), data=st.data())
def test_rows_lie_where_streaming_looks_for_them(sizes, data):
    ours, theirs = RowSpanner(sizes), Spanner(np.array(sizes))
    for _ in range(20):
        row = data.draw(st.integers(0, sum(sizes) - 1))
        assert ours[row] == tuple(map(int, theirs[row]))
    for row in (-1, sum(sizes)):
        with pytest.raises(IndexError):
            ours[row]


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=9), bag_size=st.integers(1, 3), data=st.data())
def test_the_shards_of_samples_are_those_of_each_in_turn(sizes, bag_size, data):
    spanner, found = BagSpanner(sizes, bag_size), []
    for sample in data.draw(st.lists(st.integers(-1, 2 * sum(sizes) - 1))):
        found.append(sample)
        try:
            assert sample == -1 or len(range(*spanner[sample][1].indices(99))) in (1, bag_size)
        except IndexError:
            found.pop()
    shards = [spanner[sample][0] for sample in found if sample != -1]
    assert spanner.shards_of(found) == list(dict.fromkeys(shards))


def test_building_a_dataset_makes_no_table_of_its_rows(tmp_path, monkeypatch):
    def table(sizes):
        raise AssertionError("a table of 8 bytes a row")

    monkeypatch.setattr(streamings_own, "Spanner", table)
    shards = write_shards(tmp_path / "bags", (5,))
    StreamingBagDataset(local=str(shards), bag_size=1, superposition_batches=0, batch_size=1).close()
    assert streamings_own.Spanner is table
