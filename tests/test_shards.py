"""Shards are byte for byte what streaming's own MDSWriter writes."""

from pathlib import Path

import numpy as np
import pytest
import zstandard
from references import write_rows_with_mds_writer

from tstdata.shards import ShardLayout, encode_shard, index_bytes, write_shard


def write_all(out: Path, rows: np.ndarray, layout: ShardLayout) -> None:
    out.mkdir()
    a_shard = layout.rows_per_shard
    starts = range(0, len(rows), a_shard)
    entries = [write_shard(out, n, rows[at : at + a_shard], layout) for n, at in enumerate(starts)]
    (out / "index.json").write_bytes(index_bytes(entries))


def assert_same_bytes(mine: Path, theirs: Path) -> None:
    names = sorted(path.name for path in theirs.iterdir())
    assert sorted(path.name for path in mine.iterdir()) == names
    for name in names:
        assert (mine / name).read_bytes() == (theirs / name).read_bytes(), name


@pytest.mark.parametrize("compression", [None, "zstd", "zstd:9"])
@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize(("num_rows", "seq_len", "size_limit"), [(1, 1, 300), (57, 7, 700), (300, 64, 9_999)])
def test_shards_equal_those_of_mds_writer(tmp_path, compression, dtype, num_rows, seq_len, size_limit):
    layout = ShardLayout(seq_len, dtype, compression, size_limit)
    rows = np.random.default_rng(0).integers(0, 60_000, (num_rows, seq_len)).astype(dtype)
    write_rows_with_mds_writer(tmp_path / "theirs", rows, dtype, compression, size_limit)
    write_all(tmp_path / "mine", rows, layout)
    assert_same_bytes(tmp_path / "mine", tmp_path / "theirs")


@pytest.mark.parametrize("spare", [0, 1])
def test_a_shard_is_filled_to_the_last_byte_of_its_size_limit(tmp_path, spare):
    rows = np.arange(10 * 8, dtype="uint16").reshape(10, 8)
    config = len(ShardLayout(8, "uint16", None, 999).config_bytes)
    size_limit = 8 + config + 5 * (8 * 2 + 4) - spare
    layout = ShardLayout(8, "uint16", None, size_limit)
    assert layout.rows_per_shard == 5 - spare
    write_rows_with_mds_writer(tmp_path / "theirs", rows, "uint16", None, size_limit)
    write_all(tmp_path / "mine", rows, layout)
    assert_same_bytes(tmp_path / "mine", tmp_path / "theirs")


def test_a_large_compressed_shard_equals_that_of_mds_writer(tmp_path):
    # Above a few MB zstd's single- and multi-threaded forms give different frames.
    layout = ShardLayout(2048, "uint16", "zstd", 1 << 24)
    rows = (np.random.default_rng(0).random((layout.rows_per_shard, 2048)) ** 4 * 5000).astype("uint16")
    write_rows_with_mds_writer(tmp_path / "theirs", rows, "uint16", "zstd", layout.size_limit)
    write_all(tmp_path / "mine", rows, layout)
    assert_same_bytes(tmp_path / "mine", tmp_path / "theirs")
    one_threaded = zstandard.compress(encode_shard(rows, layout), 3)
    assert one_threaded != (tmp_path / "mine" / "shard.00000.mds.zstd").read_bytes()


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (ShardLayout(0, "uint16"), "seq_len is 0"),
        (ShardLayout(1000, "uint32", None, 4000), "does not fit into a shard"),
        (ShardLayout(8, "uint16", None, 1 << 32), "size_limit is 4294967296"),
        (ShardLayout(8, "uint16", "gzip"), "compression is 'gzip'"),
        (ShardLayout(8, "uint16", "zstd:23"), "compression is 'zstd:23'"),
    ],
)
def test_a_layout_that_no_shard_can_have_is_refused(layout, words):
    with pytest.raises(ValueError, match=words):
        layout.check()
