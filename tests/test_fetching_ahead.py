"""While one shard is read the next is fetched, or as much as eight batches or `predownload` say."""

import time

import pytest
from handmade_shards import write_shards

from tstdata import StreamingBagDataset

ROWS = (40,) * 6
# Streaming reads a shard that it checks the hash of without closing it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file <_io.BufferedReader name=.*shard:ResourceWarning"
)


@pytest.mark.parametrize(
    ("bag_size", "batches", "predownload", "fetched"),
    [(1, 0, None, 2), (4, 12, None, 4), (1, 0, 4, 1), (1, 0, 90, 3), (4, 12, 30, 4)],
    ids=["rows", "bag rows", "rows, told few", "rows, told many", "bag rows, told"],
)
def test_shards_are_fetched_as_far_ahead_as_told_else_one_or_eight_batches(
    tmp_path, bag_size, batches, predownload, fetched
):
    remote, local = write_shards(tmp_path / "shards", ROWS), tmp_path / "cache"
    dataset = StreamingBagDataset(
        remote=str(remote),
        local=str(local),
        bag_size=bag_size,
        superposition_batches=batches,
        batch_size=4,
        num_canonical_nodes=1,
        predownload=predownload,
    )
    dataset.attach_superposition(bag_size=bag_size, superposition_batches=batches, vocab_size=None)
    rows = iter(dataset)
    next(rows)
    deadline = time.monotonic() + 20
    while len(list(local.glob("*.mds"))) < fetched and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    assert len(list(local.glob("*.mds"))) == fetched
    dataset.close()
