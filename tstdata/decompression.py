"""Decompression: the bytes of a plain or compressed file in pieces; a stream that is cut off is refused."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import zstandard

from .reading import OnBytes, SourceError
from .source_file import SourceFile, Span


class Compression(NamedTuple):
    """How one kind is undone: streams have decompress, eof and unused_data. `pad`: zeros between streams."""

    extension: str
    new_stream: Callable[[], Any]
    pad: bool


COMPRESSIONS = {
    "gzip": Compression(".gz", lambda: zlib.decompressobj(wbits=31), True),
    # Frames made with --long=31 are read too, as zstd itself does only when told to.
    "zstd": Compression(
        ".zst", lambda: zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj(), False
    ),
    "xz": Compression(".xz", lzma.LZMADecompressor, True),
    "bzip2": Compression(".bz2", bz2.BZ2Decompressor, False),
}
_ERRORS = (zlib.error, zstandard.ZstdError, lzma.LZMAError, OSError, EOFError)


def read_chunks(source: SourceFile, on_bytes: OnBytes, span: Span | None = None) -> Iterator[bytes]:
    """Yields the decompressed bytes of a file; `on_bytes` is told how many bytes of the file were read.

    With a span, of an uncompressed file, it begins at the span's start and goes on past its stop.

    Raises:
        SourceError: The stream is cut off or is not of its kind.
    """
    with source.open() as file:
        if span is not None:
            file.seek(span.start)

        def raw() -> Iterator[bytes]:
            while chunk := file.read(source.read_bytes):
                on_bytes(len(chunk))
                yield chunk

        if source.compression is None:
            yield from raw()
        else:
            yield from _decompress(source.compression, raw())


def _decompress(compression: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompresses a file of one or more streams, one after the other, as all these kinds allow."""
    kind = COMPRESSIONS[compression]
    stream = kind.new_stream()
    fresh = started = False
    read = 0
    for chunk in chunks:
        data = chunk
        while data:
            if stream.eof:
                stream, fresh = kind.new_stream(), True
                if kind.pad and not (data := data.lstrip(b"\0")):
                    break
            try:
                piece = stream.decompress(data)
            except _ERRORS as error:
                raise SourceError(f"is not valid {compression} near byte {read} of it: {error}.") from None
            fresh, started = False, True
            if piece:
                yield piece
            data = stream.unused_data if stream.eof else b""
        read += len(chunk)
    if not started or not (stream.eof or fresh):
        raise SourceError(f"is cut off: its {compression} stream does not end within its {read} bytes.")
