"""Plain StreamingDatasets that leave nothing behind.

Each keeps its shared memory until the process ends, and opens, for good, all that it finds of earlier ones:
n of them hold some 6 n**2 file descriptors, and a test session has 1,024.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from streaming import StreamingDataset
from streaming.base.shared.memory import SharedMemory

from tstdata.sharing import release


@contextlib.contextmanager
def plain_streaming(**arguments: Any) -> Iterator[StreamingDataset]:
    """A StreamingDataset whose shared memory, and whatever else it opened, is closed at the end."""
    opened: list[SharedMemory] = []
    original = SharedMemory.__init__

    def recorded(self: SharedMemory, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        opened.append(self)

    with contextlib.ExitStack() as stack:
        stack.callback(lambda: release(os.getpid(), opened, []))
        SharedMemory.__init__ = recorded
        stack.callback(setattr, SharedMemory, "__init__", original)
        yield StreamingDataset(**arguments)
