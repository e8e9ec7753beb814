"""The lock of an output: two preparations never write to one; a dead one's lock is free."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

_LOCK_FILE = "lock"


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which it makes; the kernel lets go of it when the process ends in any way.

    Raises:
        BlockingIOError: Another process holds it; the message names its id and host.
    """
    path = folder / _LOCK_FILE
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        # Opened for appending: whoever is refused must still read who holds it.
        with open(path, "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise BlockingIOError(
                    f"{folder.parent} is being prepared by {file.read() or 'another process'}: wait until it "
                    "is done, end it, or give another --out."
                ) from None
            if not _is_at(file.fileno(), path):  # Its holder finished and removed it as we opened it.
                continue
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            try:
                yield
            finally:
                _clear(folder)
            return


def _clear(folder: Path) -> None:
    """Removes the folder, and then what it is in, if there is nothing in it but the lock."""
    with contextlib.suppress(OSError):
        if os.listdir(folder) == [_LOCK_FILE]:
            (folder / _LOCK_FILE).unlink()
            folder.rmdir()
        if not folder.exists():
            folder.parent.rmdir()


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
