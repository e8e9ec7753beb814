"""Documents: the texts of a source file, one by one, each with its place in the file."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from .decompression import read_chunks
from .sources import SourceFile

_PARQUET_BATCH_ROWS = 256
# Pages are read through a buffer: a column of a row group is never whole in memory.
_PARQUET_BUFFER_BYTES = 1 << 20


def place_name(source_format: str) -> str:
    """Returns what a document's place in a file of this format counts."""
    return {"jsonl": "line", "parquet": "row", "text": "byte"}[source_format]


class Document(NamedTuple):
    """A text and its place: its line from 1 (jsonl), its row from 0 (parquet) or its byte offset (text)."""

    place: int
    text: str


def read_documents(
    source: SourceFile, text_key: str, on_bytes: Callable[[int], object] = lambda _: None
) -> Iterator[Document]:
    """Yields the documents of a file in order; `on_bytes` is told of the bytes of the file as they are read.

    Raises:
        ValueError: The file can't be read as what it is; the message names the file and the line or row.
    """
    if source.format == "jsonl":
        return _read_jsonl(source, text_key, on_bytes)
    if source.format == "parquet":
        return _read_parquet(source, text_key, on_bytes)
    return _read_text(source, on_bytes)


def _read_text(source: SourceFile, on_bytes: Callable[[int], object]) -> Iterator[Document]:
    data = b"".join(read_chunks(source.path, source.compression, on_bytes))
    try:
        yield Document(0, data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{source.path} is not UTF-8 at byte {error.start} ({error.reason}): convert it, or leave it out."
        ) from None


def _read_lines(source: SourceFile, on_bytes: Callable[[int], object]) -> Iterator[bytes]:
    """Yields lines without their newline; only a newline byte ends a line."""
    rest: list[bytes] = []
    for chunk in read_chunks(source.path, source.compression, on_bytes):
        first, *others = chunk.split(b"\n")
        rest.append(first)
        if others:
            yield b"".join(rest)
            yield from others[:-1]
            rest = [others[-1]]
    if last := b"".join(rest):
        yield last


def _read_jsonl(source: SourceFile, text_key: str, on_bytes: Callable[[int], object]) -> Iterator[Document]:
    offset = 0
    for number, line in enumerate(_read_lines(source, on_bytes), start=1):
        if line and not line.isspace():  # A blank line holds no document.
            try:
                text = _text_of_line(line, text_key)
            except ValueError as error:
                raise ValueError(f"{source.path} line {number} (byte {offset}): {error}") from None
            yield Document(number, text)
        offset += len(line) + 1


def _text_of_line(line: bytes, text_key: str) -> str:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{_json_trouble(line, error)}. Each line must be one JSON object.") from None
    if not isinstance(record, dict):
        raise ValueError(
            f"holds {_kind(record)}; each line must be one JSON object with the key {text_key!r}."
        )
    if text_key not in record:
        raise ValueError(
            f"no key {text_key!r}; its keys are {_listing(record)}. Name the text's with --text-key."
        )
    text = record[text_key]
    if not isinstance(text, str):
        raise ValueError(f"the key {text_key!r} holds {_kind(text)}; a document's text must be a string.")
    return text


def _json_trouble(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as bad:
        return f"not UTF-8 at byte {bad.start} of the line ({bad.reason})"
    return f"broken JSON at column {error.colno} ({error.msg.partition(':')[0]})"


def _read_parquet(source: SourceFile, text_key: str, on_bytes: Callable[[int], object]) -> Iterator[Document]:
    row = 0
    try:
        with pq.ParquetFile(source.path, buffer_size=_PARQUET_BUFFER_BYTES) as file:
            _check_column(file.schema_arrow, text_key, source.path)
            bytes_a_row = source.size / max(1, file.metadata.num_rows)
            for batch in file.iter_batches(_PARQUET_BATCH_ROWS, columns=[text_key], use_threads=False):
                for text in _texts_of_column(batch.column(0), row, source.path):
                    yield Document(row, text)
                    row += 1
                on_bytes(round(row * bytes_a_row) - round((row - len(batch)) * bytes_a_row))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{source.path} can't be read as parquet after row {row}: {error}") from None


def _check_column(schema: pa.Schema, text_key: str, path: str) -> None:
    if text_key not in schema.names:
        raise ValueError(
            f"{path}: no column {text_key!r}; its columns are {_listing(schema.names)}. Give --text-key."
        )
    kind = schema.field(text_key).type
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)):
        raise ValueError(f"{path}: the column {text_key!r} holds {kind}; a document's text must be a string.")


def _texts_of_column(column: pa.Array, first_row: int, path: str) -> Iterator[str]:
    for row, value in enumerate(column, start=first_row):
        try:
            text = value.as_py()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} row {row}: not UTF-8 at byte {error.start} ({error.reason}).") from None
        if text is None:
            raise ValueError(f"{path} row {row}: the text is null; a document's text must be a string.")
        yield text


def _kind(value: Any) -> str:
    names = {
        "NoneType": "null",
        "dict": "an object",
        "list": "a list",
        "str": "a string",
        "bool": "a boolean",
    }
    return names.get(type(value).__name__, "a number")


def _listing(names: Any) -> str:
    shown = [repr(name) for name in list(names)[:20]]
    more = len(names) - len(shown)
    return (", ".join(shown) or "none") + (f" and {more} more" if more > 0 else "")
