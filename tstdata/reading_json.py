"""Reading JSON: lines of one object each, or one array of objects, without ever holding a whole file."""

import re
from collections.abc import Iterator

import orjson

from .decompression import read_chunks
from .reading import Document, OnBytes, Reject, SourceError, mark_length, text_of, utf8_trouble
from .source_file import SourceFile, Span

Line = bytes | bytearray | memoryview


def read_lines(
    source: SourceFile, on_bytes: OnBytes, span: Span | None = None
) -> Iterator[Document | Reject]:
    """Yields the documents of a jsonl file; a place is a line, from 1. A blank line holds no document."""
    number, offset = (1, 0) if span is None else (span.first_place, span.start)
    for line in _lines(source, on_bytes, span):
        num_bytes = len(line)
        if offset == 0 and (skipped := mark_length(line)):
            line = line[skipped:]
        found: Document | Reject | None = None
        if line and not _is_blank(line):
            try:
                found = Document(number, text_of(_parse(line, "line"), source.text_key))
            except ValueError as error:
                found = Reject(number, str(error), offset)
        number += 1
        offset += num_bytes + 1
        line = b""  # A very long one is not kept beside its text.
        if found is not None:
            yield found


def _lines(source: SourceFile, on_bytes: OnBytes, span: Span | None) -> Iterator[Line]:
    """Yields lines without their newline; only a newline byte ends a line. With a span, those it holds."""
    left = None if span is None else span.stop - span.start
    # Grows in place: chunks kept to be joined would hold a very long line twice, and leave holes in memory.
    rest = bytearray()
    for chunk in read_chunks(source, on_bytes, span):
        # Bytes, for their find, which looks at many at a time; a piece in memory comes as a view of them.
        data, begin = bytes(chunk), 0
        view = memoryview(data)
        while (end := data.find(b"\n", begin)) >= 0:
            if left is not None and left <= 0:
                return
            # Views: orjson reads them where they lie.
            line: Line = view[begin:end]
            if rest:
                rest += line
                line, rest = rest, bytearray()
            begin = end + 1
            if left is not None:
                left -= len(line) + 1
            yield line
            del line
        rest += view[begin:]
        del chunk, data, view
        if left is not None and left <= 0:
            return
    if rest:
        yield rest


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


def read_array(
    source: SourceFile, on_bytes: OnBytes, span: Span | None = None
) -> Iterator[Document | Reject]:
    """Yields the documents of a JSON array of objects; a place is an element, from 0."""
    assert span is None
    for number, (offset, element) in enumerate(_elements(read_chunks(source, on_bytes))):
        try:
            yield Document(number, text_of(_parse(element, "element"), source.text_key))
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
