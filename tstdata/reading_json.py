"""Reading JSON: lines of one object each, or one array of objects, without ever holding a whole file."""

import codecs
import re
from collections.abc import Iterator
from typing import Any

import orjson
import simdjson

from .decompression import read_chunks
from .reading import OnBytes, Reject, Run, Runs, SourceError, mark_length, text_of, utf8_trouble
from .source_file import SourceFile, Span

Line = bytes | bytearray | memoryview
# simdjson keeps memory for the longest line it has met, some ten times its size; longer ones are for orjson.
_SIMDJSON_BYTES = 1 << 20


def read_lines(source: SourceFile, on_bytes: OnBytes, span: Span | None = None) -> Runs:
    """Yields the documents of a jsonl file; a place is a line, from 1. A blank line holds no document."""
    first, offset = (1, 0) if span is None else (span.first_place, span.start)
    number = first
    parser = simdjson.Parser(_SIMDJSON_BYTES)
    for lines in _lines(source, on_bytes, span):
        found = [*_documents_of(lines, number, offset, source.text_key, parser)]
        number += len(lines)
        offset += sum(map(len, lines)) + len(lines)
        lines.clear()  # A very long one is not kept beside its text.
        yield from found
    return number - first


def _lines(source: SourceFile, on_bytes: OnBytes, span: Span | None) -> Iterator[list[Line]]:
    """Yields lines without their newline, as many as a chunk of the file ends; only a newline byte ends one.

    With a span, the lines it holds. Whoever takes a list may empty it.
    """
    left = None if span is None else span.stop - span.start
    if left is not None and left <= 0:
        return
    # Grows in place: chunks kept to be joined would hold a very long line twice, and leave holes in memory.
    rest = bytearray()
    for chunk in read_chunks(source, on_bytes, span):
        data = bytes(chunk)  # For its find: a piece in memory comes as a view.
        view = memoryview(data)
        lines: list[Line] = []
        begin, is_last = 0, False
        # Find, for it looks at many bytes at a time, as split does not.
        while not is_last and (end := data.find(b"\n", begin)) >= 0:
            lines.append(view[begin:end])
            begin = end + 1
            is_last = left is not None and begin >= left
        if lines and rest:
            rest += lines[0]
            lines[0], rest = rest, bytearray()
        if lines:
            yield lines
        if is_last:
            return
        rest += view[begin:]
        if left is not None:
            left -= len(data)
        del chunk, data, view
    if rest:
        yield [rest]


def _documents_of(
    lines: list[Line], number: int, offset: int, text_key: str, parser: simdjson.Parser
) -> Iterator[Run | Reject]:
    """Yields what lines hold; the first is line `number` and begins at byte `offset`.

    The parser is faster than orjson and the stricter one, but that it passes over a byte order mark. What it
    refuses orjson decides on.
    """
    parse: Any = parser.parse
    places: list[int] = []
    texts: list[str] = []
    for line in lines:
        text: str | Reject | None
        try:
            text = parse(line, True)[text_key]
        except (ValueError, TypeError, KeyError, RuntimeError):
            text = (
                None  # No document; or blank, or with a number or a depth that is too large for the parser.
            )
        if type(text) is not str or line[0] == codecs.BOM_UTF8[0]:
            text = _text_of(line, number, offset, text_key)
        if isinstance(text, Reject):
            if texts:
                yield Run(places, texts)
            yield text
            places, texts = [], []
        elif text is not None:
            places.append(number)
            texts.append(text)
        number += 1
        offset += len(line) + 1
    if texts:
        yield Run(places, texts)


def _text_of(line: Line, number: int, offset: int, text_key: str) -> str | Reject | None:
    if offset == 0 and (mark := mark_length(line)):
        line = line[mark:]
    if not line or _is_blank(line):
        return None
    try:
        return text_of(_parse(line, "line"), text_key)
    except ValueError as error:
        return Reject(number, str(error), offset)


def _is_blank(line: Line) -> bool:
    return line[0] in b" \t\r\v\f" and bytes(line).isspace()


def _parse(data: Line, what: str) -> object:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        try:
            bytes(data).decode("utf-8")
        except UnicodeDecodeError as bad:
            raise ValueError(f"{utf8_trouble(bad)} of the {what}. JSON is UTF-8: convert the file.") from None
        trouble = f"broken JSON at column {error.colno} ({error.msg.partition(':')[0]})"
        raise ValueError(f"{trouble}. Each {what} must be one JSON object.") from None


# Outside a string only these matter; inside one, everything up to the quote that ends it.
_STRUCTURE = re.compile(rb'["\[\]{},]')
_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)


def read_array(source: SourceFile, on_bytes: OnBytes, span: Span | None = None) -> Iterator[Run | Reject]:
    """Yields the documents of a JSON array of objects; a place is an element, from 0."""
    assert span is None
    for number, (offset, element) in enumerate(_elements(read_chunks(source, on_bytes))):
        try:
            yield Run.of(number, text_of(_parse(element, "element"), source.text_key))
        except ValueError as error:
            yield Reject(number, str(error), offset)


def _elements(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yields the elements of an array, unparsed, each with its offset; never more than one in memory.

    They are told apart by brackets, commas and quotes alone: a broken one does not hide those after it.
    """
    offset, first = 0, True
    for piece, mark in _pieces(chunks):
        skipped = 0 if offset else mark_length(piece)
        piece, offset = piece[skipped:], offset + skipped
        blank = not piece or piece.isspace()
        if (mark == b"[" and not blank) or (mark == b"" and first):
            begins = piece.lstrip()[:1].decode("utf-8", "replace")
            what = f"begins with {begins!r}" if begins else "is empty"
            raise SourceError(
                f"{what}; a JSON array begins with '['. If each line is one object, give --format jsonl."
            )
        if mark == b"" and not blank:
            raise SourceError(f"goes on after the end of its JSON array, at byte {offset}.")
        if mark in (b",", b"]") and not (mark == b"]" and first and blank):
            yield offset + len(piece) - len(piece.lstrip()), piece.strip()
        first = mark == b"["
        offset += len(piece) + 1


def _pieces(chunks: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Cuts a file at the marks of its outermost array: `[`, commas, `]` and, as an empty mark, its end."""
    parts: list[bytes] = []
    depth, quoted, escaped, size = 0, False, False, 0
    for chunk in chunks:
        start, at = 0, int(escaped)  # A backslash that ended the last chunk has taken this byte.
        escaped = False
        size += len(chunk)
        while at < len(chunk):
            if quoted:
                match = _STRING.match(chunk, at)
                assert match is not None
                at = match.end() + 1
                escaped = chunk[match.end() :] == b"\\"
                quoted = match.end() >= len(chunk) or escaped
                continue
            match = _STRUCTURE.search(chunk, at)
            if match is None:
                break
            mark, at = match[0], match.end()
            depth -= mark in (b"]", b"}")
            if (depth, mark) in ((0, b"["), (1, b","), (0, b"]")):
                yield b"".join([*parts, chunk[start : at - 1]]), mark
                parts, start = [], at
            depth += mark in (b"[", b"{")
            quoted = mark == b'"'
        parts.append(chunk[start:])
    if quoted or depth > 0:
        raise SourceError(f"is cut off: its JSON array does not end within its {size} bytes.")
    yield b"".join(parts), b""
