"""Pieces: how one file is cut so that several workers can share it; by the file alone, never their number.

A plain jsonl file is cut at byte positions: a piece has the lines that begin in its bytes. A parquet file is
cut between row groups. Everything else is one piece: a compressed stream can only be read from its beginning.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .formats import FORMATS
from .parquet import open_parquet
from .source_file import SourceFile, Span

_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Piece:
    """Bytes `start` <= i < `stop` of a file; of a parquet file also the row groups that lie there.

    `groups` is a half-open range of row groups, None in other files. `by_lines`: the piece has the lines that
    begin in its bytes; its start may be in the middle of a line.
    """

    start: int
    stop: int
    groups: tuple[int, int] | None = None
    by_lines: bool = False

    @property
    def size(self) -> int:
        """Bytes of the piece."""
        return self.stop - self.start

    def beginning(self, num_bytes: int) -> "Piece":
        """Returns the lines that begin in its first bytes; of what is not cut by lines, all."""
        stop = min(self.start + num_bytes, self.stop)
        return dataclasses.replace(self, stop=stop) if self.by_lines else self


def cut_file(source: SourceFile, piece_bytes: int) -> list[Piece]:
    """Cuts a file into pieces of `piece_bytes` bytes of jsonl, or about so many decompressed of parquet."""
    cut = None if source.compression else FORMATS[source.format].cut
    if cut == "bytes" and source.size > piece_bytes:
        starts = range(0, source.size, piece_bytes)
        return [Piece(start, min(start + piece_bytes, source.size), by_lines=True) for start in starts]
    if cut == "groups" and source.size:
        try:
            return _cut_groups(source, piece_bytes) or [Piece(0, source.size)]
        except (pa.ArrowException, OSError, ValueError):
            pass  # Its task will tell what is wrong with it, if it still is.
    return [Piece(0, source.size)]


def _cut_groups(source: SourceFile, piece_bytes: int) -> list[Piece]:
    """Returns runs of row groups; their bytes are told by where the first column of each run lies."""
    with source.open() as opened:
        metadata = open_parquet(opened).metadata
    pieces: list[Piece] = []
    first = held = 0
    for group in range(metadata.num_row_groups):
        held += metadata.row_group(group).total_byte_size
        last = group == metadata.num_row_groups - 1
        if held >= piece_bytes or last:
            start = pieces[-1].stop if pieces else 0
            stop = source.size if last else _first_byte(metadata.row_group(group + 1))
            pieces.append(Piece(start, stop, (first, group + 1)))
            first, held = group + 1, 0
    return pieces


def _first_byte(group: pq.RowGroupMetaData) -> int:
    columns = [group.column(index) for index in range(group.num_columns)]
    return min(column.dictionary_page_offset or column.data_page_offset for column in columns)


def find_span(source: SourceFile, piece: Piece) -> Span | None:
    """Returns what of a file its reader is to read; None: all.

    The lines of a piece by lines count from 1, because nobody has counted those before it.
    """
    if piece.groups is not None:
        return Span(*piece.groups)
    return Span(next_line(source, piece.start, piece.stop), piece.stop) if piece.by_lines else None


def next_line(source: SourceFile, position: int, stop: int | None = None) -> int:
    """Returns where the first line begins that does not begin before a byte; `stop` if none does before that.

    Without a `stop` that is the end of the file.
    """
    if position == 0:
        return 0
    stop = source.size if stop is None else stop
    at = position - 1
    for data in _read(source, at, stop - 1):
        if (found := bytes(data).find(b"\n")) >= 0:
            return at + found + 1
        at += len(data)
    return stop


def count_lines_before(source: SourceFile, piece: Piece) -> int:
    """Returns how many lines of a file begin before a piece by lines, 0 for other pieces; it reads them."""
    if not piece.by_lines or piece.start == 0:
        return 0
    return 1 + sum(_newlines(data) for data in _read(source, 0, piece.start - 1))


def _newlines(data: bytes) -> int:
    # bytes.count looks at one byte at a time.
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord("\n")))


def _read(source: SourceFile, start: int, stop: int) -> Iterator[bytes]:
    with source.open() as file:
        file.seek(start)
        while start < stop and (data := file.read(min(stop - start, _READ_BYTES))):
            yield data
            start += len(data)
