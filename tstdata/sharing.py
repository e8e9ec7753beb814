"""What a StreamingDataset shares between processes: claiming it, reading it, freeing it."""

import atexit
import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

logger = logging.getLogger(__name__)

_START_SECONDS = 120


@contextlib.contextmanager
def one_start_at_a_time(leads: bool, barrier: Callable[[], None]) -> Iterator[None]:
    """Keeps two runs of one machine from starting a dataset at once, which could get the same number.

    Args:
        leads: Whether this process is the first of its node, the one that waits for other runs.
        barrier: Called once that is done, so that its other processes look for a free number only then.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(os.path.join(tempfile.gettempdir(), f"tstdata-start-{os.getuid()}.lock"))
    try:
        if leads:
            lock.acquire(timeout=_START_SECONDS)
    except Timeout:
        logger.warning("another run has been starting for %d seconds: going on beside it.", _START_SECONDS)
    try:
        barrier()
        yield
    finally:
        lock.release()


def told_to_all(act: Callable[[], None] | None, gather: Callable[[Any], list[Any]]) -> None:
    """Does something on some ranks, and, when it fails on one, raises its message on every one.

    Args:
        act: What this rank does; None: nothing.
        gather: Returns an object of every rank to every rank.

    Raises:
        OSError: It failed on another rank; on this one it raises what it raises.
    """
    failure: Exception | None = None
    try:
        if act is not None:
            act()
    except Exception as error:
        failure = error
    messages = gather(None if failure is None else str(failure))
    if failure is not None:
        raise failure
    for message in filter(None, messages):
        raise OSError(message)


@contextlib.contextmanager
def closing_what_is_looked_at(prefix_module: Any, is_kept: Callable[[Any], bool]) -> Iterator[None]:
    """Closes the shared memory that Streaming opens to find a free number, and would keep open for good.

    Args:
        prefix_module: `streaming.base.shared.prefix`, which looks through all datasets of the machine.
        is_kept: Whether a memory that it opened is the new dataset's own.
    """
    opened: list[Any] = []
    original = prefix_module.SharedMemory

    def recorded(*args: Any, **kwargs: Any) -> Any:
        opened.append(original(*args, **kwargs))
        return opened[-1]

    prefix_module.SharedMemory = recorded
    try:
        yield
    finally:
        prefix_module.SharedMemory = original
        release(os.getpid(), [memory for memory in opened if not is_kept(memory)], [])


def read_shared(memory: Any) -> bytes:
    """Returns what shared memory holds up to its first null byte, and closes it.

    Args:
        memory: A `streaming.base.shared.SharedMemory`, opened with `auto_cleanup=False`.
    """
    data = bytes(memory.buf)
    memory.cleanup()
    return data.split(b"\0", 1)[0]


def release(owner: int, memories: Iterable[Any], lock_files: Iterable[str]) -> None:
    """Closes a dataset's shared memory, unlinking what this process created, and removes its lock files.

    Streaming keeps the memory until the process ends and the files for ever, and each new dataset opens
    what memory it finds on the machine: some tens of datasets in one process would run out of file
    descriptors.

    Args:
        owner: The process that may do so; in others, as a DataLoader's workers, nothing happens.
        memories: `streaming.base.shared.SharedMemory` that nobody uses any more.
        lock_files: Their paths. They go last: while one exists, no other run takes the dataset's number.
    """
    if owner != os.getpid():
        return
    for memory in memories:
        atexit.unregister(memory.cleanup)
        memory.cleanup()
    for path in lock_files:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
