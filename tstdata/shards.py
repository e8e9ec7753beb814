"""MDS shards of fixed-width token rows, byte for byte as streaming's MDSWriter writes them, without it.

A shard is: uint32 number of rows n, n + 1 uint32 offsets, the config as JSON, the rows; all little-endian.
Two things need care: MDSWriter writes the config and `index.json` with sorted keys and Python's default
separators, and it counts 4 bytes of offset a row, plus 8 and the config, against size_limit. So do we.
"""

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash
import zstandard

from .commit import commit_bytes, committing_large, view_bytes
from .direct_writing import read_into, write_blocks
from .joined import Joined

INDEX_FILE = "index.json"
HASHES = ("xxh64",)
DEFAULT_SIZE_LIMIT = 1 << 26
_COLUMN = "tokens"
_MAX_SIZE_LIMIT = (1 << 32) - 1


@dataclass(frozen=True)
class ShardLayout:
    """How rows lie in shards: `seq_len` tokens of uint16 or uint32 a row; `size_limit` in bytes."""

    seq_len: int
    dtype: str
    compression: str | None = None
    size_limit: int = DEFAULT_SIZE_LIMIT

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.seq_len * np.dtype(self.dtype).itemsize

    @property
    def config(self) -> dict[str, Any]:
        """What MDSWriter repeats in every shard and in every index entry."""
        return {
            "version": 2,
            "format": "mds",
            "compression": self.compression,
            "hashes": list(HASHES),
            "size_limit": self.size_limit,
            "column_names": [_COLUMN],
            "column_encodings": [f"ndarray:{self.dtype}:{self.seq_len}"],
            "column_sizes": [self.row_bytes],
        }

    @property
    def config_bytes(self) -> bytes:
        """The config as it stands in a shard."""
        return json.dumps(self.config, sort_keys=True).encode()

    @property
    def rows_per_shard(self) -> int:
        """Rows of every shard but the last."""
        return (self.size_limit - 8 - len(self.config_bytes)) // (self.row_bytes + 4)

    def header(self, num_rows: int) -> bytes:
        """Returns all that comes before the rows of a shard of `num_rows`."""
        start = 4 + 4 * (num_rows + 1) + len(self.config_bytes)
        offsets = start + self.row_bytes * np.arange(num_rows + 1, dtype=np.int64)
        return num_rows.to_bytes(4, "little") + offsets.astype("<u4").tobytes() + self.config_bytes

    def check(self) -> None:
        """Refuses a layout that no shard can have.

        Raises:
            ValueError: A value is out of its range, or one row does not fit into a shard.
        """
        if self.seq_len < 1:
            raise ValueError(
                f"seq_len is {self.seq_len}; a row needs at least 1 token: give --seq-len 2048, say."
            )
        if not 0 < self.size_limit <= _MAX_SIZE_LIMIT:
            raise ValueError(
                f"size_limit is {self.size_limit} bytes; MDS shards are 1 to {_MAX_SIZE_LIMIT} bytes."
            )
        if self.rows_per_shard < 1:
            raise ValueError(
                f"one row of seq_len {self.seq_len} takes {self.row_bytes} bytes and does not fit into a "
                f"shard of {self.size_limit} bytes beside {12 + len(self.config_bytes)} of its "
                "header. Give a smaller --seq-len or a larger --size-limit."
            )
        compression_level(self.compression)


def compression_level(compression: str | None) -> int | None:
    """Returns the zstd level that `zstd` or `zstd:LEVEL` asks for; None for None.

    Raises:
        ValueError: Anything else.
    """
    if compression is None:
        return None
    match = re.fullmatch(r"zstd(?::([1-9]|1\d|2[0-2]))?", compression)
    if not match:
        raise ValueError(
            f"compression is {compression!r}; it can be 'zstd' or 'zstd:LEVEL' with LEVEL 1 to 22."
        )
    return int(match[1] or 3)


def shard_names(index: int, compression: str | None) -> tuple[str, str | None]:
    """Returns the names of a shard: raw, and compressed (None without compression)."""
    raw = f"shard.{index:05}.mds"
    return raw, f"{raw}.zstd" if compression else None


def encode_shard(rows: npt.NDArray[np.unsignedinteger], layout: ShardLayout) -> bytes:
    """Returns the raw bytes of a shard of `rows` [n, seq_len]."""
    assert rows.shape == (len(rows), layout.seq_len)
    little = np.dtype(layout.dtype).newbyteorder("<")
    return layout.header(len(rows)) + np.ascontiguousarray(rows, little).tobytes()


def compress_shard(raw: bytes | bytearray, compression: str) -> bytes:
    """Returns the compressed bytes of a shard."""
    # One zstd worker thread, because MDSWriter's zstd binding always compresses in the multi-threaded form:
    # for large shards its frame differs from the single-threaded form's, but not with the number of threads.
    level = compression_level(compression)
    assert level is not None
    return zstandard.ZstdCompressor(level=level, threads=1).compress(raw)


def write_shard(
    out: Path, index: int, rows: npt.NDArray[np.unsignedinteger], layout: ShardLayout
) -> dict[str, Any]:
    """Commits a shard of `rows` [n, seq_len] to `out` and returns its entry of `index.json`."""
    assert rows.shape == (len(rows), layout.seq_len)
    little = np.ascontiguousarray(rows, np.dtype(layout.dtype).newbyteorder("<"))
    return write_shard_bytes(out, index, io.BytesIO(view_bytes(little)), len(rows), layout)


def write_shard_bytes(
    out: Path, index: int, rows: io.RawIOBase | io.BytesIO, num_rows: int, layout: ShardLayout
) -> dict[str, Any]:
    """The same for rows that are bytes already.

    Args:
        out: The directory.
        index: Number of the shard.
        rows: A reader of the bytes of its rows.
        num_rows: How many rows that is.
        layout: How they lie.
    """
    raw_name, zip_name = shard_names(index, layout.compression)
    head = layout.header(num_rows)
    num_bytes = len(head) + num_rows * layout.row_bytes
    raw, zipped = _Listing(raw_name), None
    with Joined([io.BytesIO(head), rows]) as reader:
        if layout.compression is None or zip_name is None:
            raw.write(reader, out, num_bytes)
        else:
            whole = bytearray(num_bytes)
            raw.add(memoryview(whole)[: read_into(reader, memoryview(whole))])
            assert raw.num_bytes == num_bytes
            zipped, packed = _Listing(zip_name), compress_shard(whole, layout.compression)
            zipped.write(io.BytesIO(packed), out, len(packed))
    return {
        "samples": num_rows,
        "raw_data": raw.entry(),
        "zip_data": zipped.entry() if zipped else None,
        **layout.config,
    }


class _Listing:
    """What index.json says of a file: its bytes, counted and hashed as they pass by."""

    def __init__(self, name: str) -> None:
        self._name, self._digest = name, xxhash.xxh64()
        self.num_bytes = 0

    def add(self, data: memoryview) -> None:
        self._digest.update(data)
        self.num_bytes += len(data)

    def write(self, reader: io.RawIOBase | io.BytesIO, out: Path, num_bytes: int) -> None:
        """Commits the file, of so many bytes, to a directory."""
        with committing_large(out / self._name) as file:
            write_blocks(reader, file, self.add)
            assert self.num_bytes == num_bytes

    def entry(self) -> dict[str, Any]:
        hashes = {"xxh64": self._digest.hexdigest()}
        return {"basename": self._name, "bytes": self.num_bytes, "hashes": hashes}


def index_bytes(entries: Sequence[Any]) -> bytes:
    """Returns the text of an `index.json` of these entries."""
    return json.dumps({"version": 2, "shards": list(entries)}, sort_keys=True).encode()


def write_index(out: Path, entries: Sequence[Any]) -> None:
    """Commits `index.json`."""
    commit_bytes(out / INDEX_FILE, index_bytes(entries))
