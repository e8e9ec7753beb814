"""Whose cache a directory is: one job's at a time, and free at once when that job is dead.

Two jobs in one cache would evict each other's shards, and take half-written files for whole ones.
"""

import contextlib
import fcntl
import logging
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

_CLAIM_FILE = ".in-use"
# How long what a killed process left running may take to end: workers look for their parent all the time.
_PATIENCE_SECONDS = 20.0
_SHARED_MEMORY = Path("/dev/shm")


@dataclass
class _Held:
    descriptor: int
    process: int
    datasets: int


# A process's own claims by path: several of its datasets may have one cache.
_held: dict[str, _Held] = {}


class CacheClaim:
    """A job's claim on a cache directory, until it is released or the last process of the job has ended.

    Worker processes that are forked have a part in it: the kernel keeps the lock until they have ended, too.

    Args:
        folder: The cache; it is made if it does not exist.

    Raises:
        ValueError: Another job of this machine has it; says which process, and what to type.
    """

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, exist_ok=True)
        self._path: str | None = os.path.join(os.path.realpath(folder), _CLAIM_FILE)
        held = _held.get(self._path)
        if held is not None and held.process == os.getpid():
            held.datasets += 1
            return
        try:
            _held[self._path] = _Held(_lock(self._path, folder), os.getpid(), 1)
        except BaseException:
            self._path = None
            raise

    def release(self) -> None:
        """Gives the cache to whoever wants it next."""
        path, self._path = self._path, None
        held = _held.get(path) if path is not None else None
        if path is None or held is None or held.process != os.getpid():
            return
        held.datasets -= 1
        if not held.datasets:
            # Not unlocked: that would end the part of workers that still live.
            os.close(_held.pop(path).descriptor)

    def __del__(self) -> None:
        if getattr(self, "_path", None) is not None:
            self.release()

    def __getstate__(self) -> dict[str, Any]:
        """A spawned worker's is none."""
        return {"_path": None}


def _lock(path: str, folder: str) -> int:
    descriptor, told = os.open(path, os.O_RDWR | os.O_CREAT, 0o666), False
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            if _lives(holder) or time.monotonic() > deadline:
                os.close(descriptor)
                raise ValueError(_refusal(path, folder, holder)) from None
            if not told:
                told = True
                logger.warning("%s: waiting until the processes of a killed run have ended.", folder)
            time.sleep(0.1)
        except OSError as error:
            logger.warning("%s can't be locked (%s): let no other job use this cache.", path, error)
            break
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _refusal(path: str, folder: str, holder: str) -> str:
    if _lives(holder):
        return (
            f"the cache {folder} is in use by process {holder}. Give this run another `local`, or wait until "
            f"that one is done, or end it with: kill {holder}"
        )
    left = " ".join(map(str, sorted(_users(path)))) or "PID"
    return (
        f"the cache {folder} is in use by what is left of a killed run, process {left}. End it with: "
        f"kill -9 {left}. Or give this run another `local`."
    )


def clear_dead_numbers(folder: str) -> None:
    """Removes the shared memory in which a dead job has `folder` as its cache: Streaming would refuse it.

    Does nothing where there is no /proc to tell the dead by.

    Raises:
        ValueError: A dataset that lives has it: this process's own, or one that is not of this package.
    """
    if not Path("/proc/self/maps").exists():
        return
    for path in sorted(_SHARED_MEMORY.glob("[0-9]*_locals")):
        number = path.name.partition("_")[0]
        # With lock files Streaming passes the number over, whether its job lives or not.
        locks = [Path(tempfile.gettempdir(), f"{number}_{kind}_filelock") for kind in ("barrier", "cache")]
        if not _names(path, folder) or any(lock.exists() for lock in locks):
            continue
        users = _users(str(path))
        if users:
            own = "this process" if os.getpid() in users else f"process {' '.join(map(str, sorted(users)))}"
            raise ValueError(
                f"the cache {folder} is that of another dataset of {own}: close() that one first, or give "
                "this one another `local`."
            )
        for dead in _SHARED_MEMORY.glob(f"{number}_*"):
            dead.unlink(missing_ok=True)


def _names(path: Path, folder: str) -> bool:
    """Whether a dataset's list of caches, as Streaming shares it, has `folder`."""
    with contextlib.suppress(OSError):
        return os.path.abspath(folder) in path.read_bytes()[4:].decode(errors="replace").split("\0")
    return False


def _users(path: str) -> set[int]:
    """Returns the processes that have a file open or mapped, as far as they can be seen."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        # One may end, or be another user's, while it is looked at.
        with contextlib.suppress(OSError):
            links = (link.readlink() for link in (process / "fd").iterdir())
            if path in (process / "maps").read_text() or any(str(link) == path for link in links):
                found.add(int(process.name))
    return found


def _lives(process: str) -> bool:
    """Whether a process runs; one that has ended and is not waited for does not."""
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True
