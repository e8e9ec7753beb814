"""Reading tables: parquet, arrow and feather by batches of rows; csv and tsv by lines."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from .decompression import read_chunks
from .file_systems import is_uri
from .parquet import iter_batches, open_parquet
from .reading import OnBytes, Reject, Run, SourceError, listing, naming, utf8_trouble
from .source_file import SourceFile, Span

_BATCH_ROWS = 256
# Pages are read through a buffer: a column of a row group is never whole in memory.
_BUFFER_BYTES = 1 << 20
_ARROW_FILE = b"ARROW1"
_FEATHER_1 = b"FEA1"


def read_parquet(source: SourceFile, on_bytes: OnBytes, span: Span | None = None) -> Iterator[Run | Reject]:
    """Yields the texts of a column; a place is a row, from 0. A span is of row groups."""
    row = 0
    try:
        with source.open() as opened:
            file = open_parquet(opened, max(_BUFFER_BYTES, source.read_bytes))
            _check_column(file.schema_arrow, source.text_key)
            groups = range(file.num_row_groups) if span is None else range(span.start, span.stop)
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            row = sum(sizes[: groups.start])
            count = _ByteCount(source.size, file.metadata.num_rows, on_bytes)
            for batch in iter_batches(file, _BATCH_ROWS, [source.text_key], groups):
                yield from _texts(batch.column(0), row)
                row += len(batch)
                count.rows(len(batch))
    except _damages(source) as error:
        raise SourceError(f"can't be read as parquet after row {row}: {error}") from None


def parquet_groups(source: SourceFile) -> list[int]:
    """Returns the number of rows of each row group of a parquet file.

    Raises:
        SourceError: It can't be read.
    """
    try:
        with source.open() as opened:
            metadata = open_parquet(opened).metadata
            return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    except _damages(source) as error:
        raise SourceError(f"can't be read as parquet: {error}") from None


def read_arrow(source: SourceFile, on_bytes: OnBytes, span: Span | None = None) -> Iterator[Run | Reject]:
    """Yields the texts of a column of an Arrow file or stream (feather is the former); a place is a row."""
    assert span is None
    row = 0
    try:
        with source.open() as opened:
            beginning = opened.read(len(_ARROW_FILE))
            if beginning.startswith(_FEATHER_1):
                raise SourceError("is feather of version 1, which is not read: write it as version 2.")
            is_file = beginning == _ARROW_FILE
            opened.seek(0)
            open_ipc = pa.ipc.open_file if is_file else pa.ipc.open_stream
            reader = open_ipc(opened, options=pa.ipc.IpcReadOptions(use_threads=False))
            _check_column(reader.schema, source.text_key)
            column = reader.schema.names.index(source.text_key)
            read = opened.tell()
            for batch in _batches(reader, is_file):
                yield from _texts(batch.column(column), row)
                row += len(batch)
                on_bytes(opened.tell() - read)
                read = opened.tell()
            if not is_file:
                _check_stream_end(read, opened.tell(), source.size)
    except _damages(source) as error:
        raise SourceError(f"can't be read as arrow after row {row}: {error}") from None


def _check_stream_end(last_batch: int, stop: int, size: int) -> None:
    """Refuses a stream without its end mark, which Arrow takes for a whole one, and bytes that follow it."""
    if stop == last_batch:
        raise SourceError(f"is cut off: its arrow stream has no end mark within its {size} bytes.")
    if stop < size:
        raise SourceError(f"goes on after the end of its arrow stream, at byte {stop}.")


def _batches(reader: Any, is_file: bool) -> Iterator[Any]:
    if is_file:
        yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        yield from reader


def _damages(source: SourceFile) -> tuple[type[Exception], ...]:
    """What Arrow raises on damaged files. OSError is one of them, but from a store it may pass."""
    return (pa.ArrowException,) if is_uri(source.path) else (pa.ArrowException, OSError)


class _ByteCount:
    """Tells of the bytes of a file in proportion to its rows: which bytes a row takes is not known."""

    def __init__(self, num_bytes: int, num_rows: int, on_bytes: OnBytes) -> None:
        self._a_row, self._told, self._row, self._on_bytes = num_bytes / max(1, num_rows), 0, 0, on_bytes

    def rows(self, number: int) -> None:
        """Counts rows read."""
        self._row += number
        now = round(self._row * self._a_row)
        self._on_bytes(now - self._told)
        self._told = now


def _check_column(schema: Any, text_key: str) -> None:
    if text_key not in schema.names:
        raise SourceError(
            f"has no column {text_key!r}; its columns are {listing(schema.names)}. {naming(schema.names)}"
        )
    if (count := schema.names.count(text_key)) > 1:
        raise SourceError(f"has {count} columns named {text_key!r}; a column's name must be its own.")
    kind = schema.field(text_key).type
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)):
        raise SourceError(f"has {kind} in the column {text_key!r}; a document's text must be a string.")


def _texts(column: Any, first_row: int) -> Iterator[Run | Reject]:
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        values = list(_one_by_one(column))
    if set(map(type, values)) == {str}:
        yield Run(range(first_row, first_row + len(values)), values)
        return
    for row, value in enumerate(values, start=first_row):
        if isinstance(value, str):
            yield Run.of(row, value)
        elif value is None:
            yield Reject(row, "the text is null; a document's text must be a string.")
        else:
            yield Reject(row, value.reason)


def _one_by_one(column: Any) -> Iterator[str | Reject | None]:
    for value in column:
        try:
            yield value.as_py()
        except UnicodeDecodeError as error:
            yield Reject(None, f"{utf8_trouble(error)}.")


def read_csv(source: SourceFile, on_bytes: OnBytes, span: Span | None = None) -> Iterator[Run | Reject]:
    """Yields the texts of a column of a csv or tsv file; a place is the line at which a record begins.

    The first record names the columns. Quoting is that of RFC 4180; a byte order mark is no text.
    """
    assert span is None
    csv.field_size_limit(1 << 31)
    lines = _csv_lines(source, on_bytes)
    reader = csv.reader(lines, delimiter="\t" if source.format == "tsv" else ",", strict=True)
    line = 1
    try:
        names = next(reader, None)
        if names is None:
            raise SourceError("is empty; its first line must name its columns.")
        if source.text_key not in names:
            raise SourceError(
                f"has no column {source.text_key!r}; its columns are {listing(names)}. {naming(names)}"
            )
        column = names.index(source.text_key)
        line = reader.line_num + 1
        for fields in reader:
            if fields:  # A blank line holds no record.
                yield _text_of_fields(fields, names, column, line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise SourceError(f"can't be read as {source.format} from line {line} on: {error}.") from None


def _csv_lines(source: SourceFile, on_bytes: OnBytes) -> Iterator[str]:
    """Yields lines with their ends; bytes that are no UTF-8 come as surrogates, refused where they matter."""
    chunks = read_chunks(source, on_bytes)
    raw = io.BufferedReader(_Chunks(chunks), buffer_size=1 << 18)
    with io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        yield from text


class _Chunks(io.RawIOBase):
    """An iterator of bytes as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _text_of_fields(fields: list[str], names: list[str], column: int, line: int) -> Run | Reject:
    if len(fields) != len(names):
        return Reject(line, f"has {len(fields)} fields; the first line names {len(names)} columns.")
    text = fields[column]
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return Reject(line, "the text is not UTF-8: convert the file.")
    return Run.of(line, text)
