"""Rows in shards: their width, as index.json declares it, and where a row or a bag row lies."""

import contextlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

COLUMN = "tokens"
_TYPES = ("uint16", "uint32")


class RowSpanner:
    """Maps a row's number to its shard and its number there, as Streaming's `Spanner` does.

    That one begins with a table of 8 bytes for each row of the dataset: 800 MB and seconds for 100 million.
    """

    def __init__(self, rows_per_shard: npt.ArrayLike) -> None:
        self.stops: list[int] = np.cumsum(rows_per_shard).tolist()

    def __getitem__(self, row: int) -> tuple[int, int]:
        """Returns shard and place; IndexError if there is none."""
        if not 0 <= row < self.stops[-1]:
            raise IndexError(f"row {row} does not exist: the dataset has {self.stops[-1]} rows.")
        shard = bisect_right(self.stops, row)
        return shard, int(row) - (self.stops[shard - 1] if shard else 0)


@contextlib.contextmanager
def without_a_table_of_rows(module: Any) -> Iterator[None]:
    """Has datasets that are made meanwhile look rows up by `RowSpanner`.

    Args:
        module: `streaming.base.dataset`, whose `Spanner` it takes the place of.
    """
    original = module.Spanner
    module.Spanner = RowSpanner
    try:
        yield
    finally:
        module.Spanner = original


class BagSpanner:
    """Maps a sample id to its shard and its stored rows there, a slice.

    Streaming asks this for every sample it fetches, readies and yields, so bag rows go through its threads as
    rows do. Ids below `num_rows` are the rows that begin at that stored row, of `joined` stored rows each;
    `num_rows + r` is the bag row that begins at stored row r.
    """

    def __init__(self, rows_per_shard: npt.ArrayLike, bag_size: int, joined: int = 1) -> None:
        self._stops = RowSpanner(rows_per_shard).stops
        self._begins, self._num_rows = [0, *self._stops], self._stops[-1]
        self.joined, self.joined_in_bag = joined, bag_size * joined

    def __getitem__(self, sample_id: int) -> tuple[int, slice]:
        """Returns the shard and the stored rows of a sample; IndexError if there is none."""
        shard, first, stop = self.place(int(sample_id))
        return shard, slice(first, stop)

    def place(self, sample_id: int) -> tuple[int, int, int]:
        """Returns a sample's shard, and where its stored rows begin and end there. For each row read."""
        row, length = sample_id, self.joined
        if sample_id >= self._num_rows:
            row, length = sample_id - self._num_rows, self.joined_in_bag
        if not 0 <= row < self._num_rows:
            raise IndexError(f"sample {sample_id} does not exist: the dataset has {self._num_rows} rows.")
        shard = bisect_right(self._stops, row)
        if row + length > self._stops[shard]:
            raise IndexError(
                f"sample {sample_id}, {length} stored rows, goes on beyond the end of its shard."
            )
        first = row - self._begins[shard]
        return shard, first, first + length

    def shards_of(self, sample_ids: npt.ArrayLike) -> list[int]:
        """Returns the shards of samples, each once, in the order that they come first; -1 is none."""
        ids = np.asarray(sample_ids, np.int64)
        ids = ids[ids >= 0] % self._num_rows
        shards, first = np.unique(np.searchsorted(self._stops, ids, side="right"), return_index=True)
        in_order: list[int] = shards[np.argsort(first)].tolist()
        return in_order


def row_width(shards: Iterable[Any], where: str) -> int:
    """Returns L, the tokens in a row, from the column encoding that all shards must share.

    Args:
        shards: Streaming's shard readers, with `column_names` and `column_encodings`.
        where: The dataset, for messages.

    Raises:
        ValueError: A shard has no `tokens` column of fixed width.
    """
    found: str | None = None
    for number, shard in enumerate(shards):
        columns = dict(zip(shard.column_names, shard.column_encodings, strict=True))
        encoding = columns.get(COLUMN, "")
        parts = encoding.split(":")
        if (
            len(columns) != 1
            or len(parts) != 3
            or parts[0] != "ndarray"
            or parts[1] not in _TYPES
            or not parts[2].isdigit()
        ):
            raise ValueError(
                f"shard {number} of {where} has the columns {columns}; a bag shard has `{COLUMN}` alone, "
                "encoded as ndarray:uint16:L or ndarray:uint32:L. Build it with: tst prepare"
            )
        if found not in (None, encoding):
            raise ValueError(
                f"shard {number} of {where} is encoded as {encoding} and those before it as {found}: all "
                "rows of a dataset have one width. Build it again with: tst prepare"
            )
        found = encoding
    assert found is not None, "a dataset has shards"
    return int(found.split(":")[2])
