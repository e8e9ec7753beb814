"""What a StreamingDataset shares between processes: reading it, and freeing it before the process ends."""

import atexit
import contextlib
import os
from collections.abc import Iterable
from typing import Any


def read_shared(memory: Any) -> bytes:
    """Returns what shared memory holds up to its first null byte, and closes it.

    Args:
        memory: A `streaming.base.shared.SharedMemory`, opened with `auto_cleanup=False`.
    """
    data = bytes(memory.buf)
    memory.cleanup()
    return data.split(b"\0", 1)[0]


def release(dataset: Any, more: Iterable[Any]) -> None:
    """Closes a StreamingDataset's shared memory, unlinking what this process created, and its lock files.

    Streaming keeps both until the process ends, and each new dataset opens the memory of all that live on the
    machine: without this, some tens of datasets in one process run out of file descriptors.

    Args:
        dataset: A `streaming.StreamingDataset` that nobody iterates any more.
        more: Further `streaming.base.shared.SharedMemory` of it.
    """
    arrays = [dataset._shared_barrier._arr, dataset._next_epoch.arr, dataset._cache_usage.arr]
    arrays += [dataset._shard_states, dataset._shard_access_times]
    for memory in (dataset._locals_shm, *more, *(array.shm for array in arrays)):
        atexit.unregister(memory.cleanup)
        memory.cleanup()
    if dataset._unique_rank_world.is_local_leader:
        for path in (dataset._shared_barrier.filelock_path, dataset._cache_filelock_path):
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)
