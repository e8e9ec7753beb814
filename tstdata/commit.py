"""Committing files: written aside, flushed to the disk, then renamed; a file is there whole or not at all."""

import contextlib
import errno
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from .direct_writing import open_direct

_CHUNK = 1 << 20
_SPARES = "spares"
_ADVICE = "make room and run the same command again, which keeps what is finished"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def committing(path: Path, durable: bool = True, over_spare: bool = False) -> Iterator[BinaryIO]:
    """Opens a file beside `path` for writing; renames it to `path` when the block ends well, else removes it.

    Args:
        path: The file to be.
        durable: Waits for the disk to have the bytes; without, a power cut may leave a damaged file.
        over_spare: Writes over a spare file of the folder, if there is one: see `make_spare`.

    Raises:
        OSError: The disk is full, say; it names the path.
    """
    with _aside(path) as aside, open(aside, "r+b" if over_spare and _take_spare(aside) else "wb") as file:
        yield file
        file.truncate()
        file.flush()
        if durable:
            os.fsync(file.fileno())


@contextlib.contextmanager
def committing_large(path: Path) -> Iterator[io.FileIO]:
    """The same for a durable file that nobody will read soon, to be written by `write_blocks`."""
    with _aside(path) as aside, open_direct(aside) as file:
        yield file
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):  # What did go through the system's memory need not stay there.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """Gives a path beside, for a file that is renamed to `path` when the block ends well, else removed.

    It carries the process id: two runs on one output can't write into each other's file.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield aside
        os.replace(aside, path)
    except OSError as error:
        if error.errno not in _NO_ROOM or _ADVICE in str(error.strerror):  # Told by a file written meanwhile.
            raise
        raise OSError(error.errno, f"{error.strerror}: {_ADVICE}", str(path)) from None
    finally:
        aside.unlink(missing_ok=True)


def make_spare(path: Path) -> None:
    """Takes a file away that nobody needs any more, for another one of its folder to be written over it.

    That spares the system most of what a removal and a new file cost: pages and room on the disk are there.
    """
    folder = path.parent / _SPARES
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, folder / path.name)


def _take_spare(path: Path) -> bool:
    """Moves a spare file of the folder to `path`; other processes may be taking theirs."""
    for found in (path.parent / _SPARES).glob("*"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(found, path)
            return True
    return False


def view_bytes(data: Any) -> memoryview:
    """Returns the bytes of an array that lies in one piece, without a copy."""
    return memoryview(data).cast("B") if len(data) else memoryview(b"")


def commit_bytes(
    path: Path, data: bytes | memoryview, durable: bool = True, over_spare: bool = False
) -> None:
    """Writes a whole file aside and renames it: see `committing`."""
    with committing(path, durable, over_spare) as file:
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
