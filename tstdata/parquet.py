"""Parquet files that are open in Python, read by the calling thread alone.

Arrow's own threads would read such a file through Python, and let go of it there. One that still does when
the interpreter ends aborts the process, its work long done (https://github.com/apache/arrow/issues/34314).
Unless told not to, Arrow also reads whole columns of a row group ahead, however large they are.
"""

from collections.abc import Iterator, Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq


def open_parquet(opened: IO[bytes], buffer_size: int = 0) -> pq.ParquetFile:
    """Opens an open file as parquet; pages come through a buffer of so many bytes, or without one."""
    return pq.ParquetFile(opened, buffer_size=buffer_size, pre_buffer=False)


def iter_batches(
    file: pq.ParquetFile, rows: int, columns: Sequence[str], groups: Sequence[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yields batches of at most so many rows, of some columns and of some row groups or all of them."""
    selected: dict[str, Any] = {} if groups is None else {"row_groups": list(groups)}
    yield from file.iter_batches(rows, columns=list(columns), use_threads=False, **selected)


def read_group(file: pq.ParquetFile, number: int) -> pa.Table:
    """Returns one row group."""
    return file.read_row_group(number, use_threads=False)
