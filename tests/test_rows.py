"""Where a row lies: as Streaming's own table says, without the table."""

import numpy as np
import pytest
from handmade_shards import write_shards
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming.base import dataset as streamings_own
from streaming.base.spanner import Spanner

from tstdata import StreamingBagDataset
from tstdata.rows import RowSpanner


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


def test_building_a_dataset_makes_no_table_of_its_rows(tmp_path, monkeypatch):
    def table(sizes):
        raise AssertionError("a table of 8 bytes a row")

    monkeypatch.setattr(streamings_own, "Spanner", table)
    shards = write_shards(tmp_path / "bags", (5,))
    StreamingBagDataset(local=str(shards), bag_size=1, superposition_batches=0, batch_size=1).close()
    assert streamings_own.Spanner is table
