"""Reading text files: one document a file, or split on blank lines or on a marker."""

from collections.abc import Iterator

from .decompression import read_chunks
from .reading import OnBytes, Reject, Run, mark_length, utf8_trouble
from .source_file import SourceFile, Span

BLANK_LINES = "blank-lines"


def read_text(source: SourceFile, on_bytes: OnBytes, span: Span | None = None) -> Iterator[Run | Reject]:
    """Yields the documents of a text file; a place is the byte at which one begins.

    `source.split` None: the file is one document. `blank-lines`: documents are the runs of lines between
    blank ones (empty, or only spaces), without the newline that ends the run. Anything else is a marker:
    documents are what lies between its occurrences, byte for byte; nothing but blanks after the last one is
    no document.
    """
    assert span is None
    chunks = read_chunks(source, on_bytes)
    if source.split is None:
        pieces: Iterator[tuple[int, bytes]] = iter([(0, b"".join(chunks))])
    elif source.split == BLANK_LINES:
        pieces = _runs(chunks)
    else:
        pieces = _between(chunks, source.split.encode())
    for offset, data in pieces:
        begin = 0 if offset else mark_length(data)
        try:
            yield Run.of(offset, data[begin:].decode("utf-8"))
        except UnicodeDecodeError as error:
            yield Reject(offset, f"{utf8_trouble(error, offset + begin)}: convert it, or leave it out.")


def _between(chunks: Iterator[bytes], marker: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields what lies between markers, with offsets."""
    offset, rest = 0, b""
    for chunk in chunks:
        # A marker may lie across two chunks; what was searched already is not searched again.
        searched = max(0, len(rest) - len(marker) + 1)
        rest += chunk
        start = 0
        while (at := rest.find(marker, max(start, searched))) >= 0:
            yield offset + start, rest[start:at]
            start = at + len(marker)
        offset, rest = offset + start, rest[start:]
    if rest.strip() or offset == 0:
        yield offset, rest


def _runs(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yields the runs of lines that are not blank, with offsets."""
    offset = start = 0
    run: list[bytes] = []
    for line in _lines(chunks):
        if line[0 if offset else mark_length(line) :].strip():
            start = start if run else offset
            run.append(line)
        elif run:
            yield start, b"".join(run).removesuffix(b"\n").removesuffix(b"\r")
            run = []
        offset += len(line)
    if run:
        yield start, b"".join(run).removesuffix(b"\n").removesuffix(b"\r")


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields lines with their newline."""
    rest: list[bytes] = []
    for chunk in chunks:
        first, newline, others = chunk.partition(b"\n")
        rest.append(first + newline)
        if newline:
            yield b"".join(rest)
            *lines, last = others.split(b"\n")
            yield from (line + b"\n" for line in lines)
            rest = [last]
    if last := b"".join(rest):
        yield last
