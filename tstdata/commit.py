"""Committing files: written aside, flushed to the disk, then renamed; a file is there whole or not at all."""

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

_CHUNK = 1 << 20
_ADVICE = "make room and run the same command again, which keeps what is finished"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def committing(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Opens a file beside `path` for writing; renames it to `path` when the block ends well, else removes it.

    The name aside carries the process id: two runs on one output can't write into each other's file.

    Args:
        path: The file to be.
        durable: Waits for the disk to have the bytes; without, a power cut may leave a damaged file.

    Raises:
        OSError: The disk is full, say; it names the path.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        if error.errno not in _NO_ROOM or _ADVICE in str(error.strerror):  # Told by a file written meanwhile.
            raise
        raise OSError(error.errno, f"{error.strerror}: {_ADVICE}", str(path)) from None
    finally:
        aside.unlink(missing_ok=True)


def view_bytes(data: Any) -> memoryview:
    """Returns the bytes of an array that lies in one piece, without a copy."""
    return memoryview(data).cast("B") if len(data) else memoryview(b"")


def commit_bytes(path: Path, data: bytes | memoryview, durable: bool = True) -> None:
    """Writes a whole file aside and renames it."""
    with committing(path, durable) as file:
        file.write(data)


def file_xxh64(path: str | os.PathLike[str]) -> str:
    """Returns the xxh64 of a file, read in pieces."""
    digest = xxhash.xxh64()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def file_sha256(path: str | os.PathLike[str], on_bytes: Callable[[int], object] | None = None) -> str:
    """Returns the sha256 of a file, read in pieces; `on_bytes` is told the length of each."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
    return digest.hexdigest()
