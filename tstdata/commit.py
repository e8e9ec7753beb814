"""Committing files: written aside, flushed to the disk, then renamed; a file is there whole or not at all."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 20


@contextlib.contextmanager
def committing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file beside `path` for writing; renames it to `path` when the block ends well, else removes it.

    The name aside carries the process id: two runs on one output can't write into each other's file.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def commit_bytes(path: Path, data: bytes) -> None:
    """Writes a whole file aside and renames it."""
    with committing(path) as file:
        file.write(data)


def file_sha256(path: str | os.PathLike[str], on_bytes: Callable[[int], object] | None = None) -> str:
    """Returns the sha256 of a file, read in pieces; `on_bytes` is told the length of each."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
    return digest.hexdigest()
