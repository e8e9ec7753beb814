"""Decompression: the bytes of a plain, gzip or zstd file in pieces; a stream that is cut off is refused."""

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import zstandard

# Small, because a piece of a file may decompress to many times its size.
_CHUNK = 1 << 18


def read_chunks(path: str, compression: str | None, on_bytes: Callable[[int], object]) -> Iterator[bytes]:
    """Yields the decompressed bytes of a file; `on_bytes` is told how many bytes of the file were read.

    Raises:
        ValueError: The stream is cut off or is not of its kind.
    """
    with open(path, "rb") as file:

        def raw() -> Iterator[bytes]:
            while chunk := file.read(_CHUNK):
                on_bytes(len(chunk))
                yield chunk

        if compression is None:
            yield from raw()
        else:
            yield from _decompress(path, compression, raw())


def _decompress(path: str, compression: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompresses a file of one or more streams, one after the other, as gzip and zstd allow."""
    stream = _new_stream(compression)
    fresh = started = False
    read = 0
    for chunk in chunks:
        data = chunk
        while data:
            if stream.eof:
                stream, fresh = _new_stream(compression), True
                if compression == "gzip" and not (
                    data := data.lstrip(b"\0")
                ):  # gzip files may be padded with zeros.
                    break
            try:
                piece = stream.decompress(data)
            except (zlib.error, zstandard.ZstdError) as error:
                raise ValueError(
                    f"{path} is not valid {compression} near byte {read} of the file: {error}."
                ) from None
            fresh, started = False, True
            if piece:
                yield piece
            data = stream.unused_data if stream.eof else b""
        read += len(chunk)
    if not started or not (stream.eof or fresh):
        raise ValueError(f"{path} is cut off: its {compression} stream does not end within its {read} bytes.")


def _new_stream(compression: str) -> Any:
    """Both kinds of stream have decompress, eof and unused_data."""
    if compression == "gzip":
        return zlib.decompressobj(wbits=31)
    return zstandard.ZstdDecompressor().decompressobj()
