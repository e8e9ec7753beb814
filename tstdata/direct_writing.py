"""Writing past the system's memory: a large file of which nobody will read soon what was written.

Its bytes go from ours to the disk. Through the system's they would be copied, and pages looked for, filled
and given back.
"""

import errno
import fcntl
import io
import mmap
import os
from collections.abc import Callable
from pathlib import Path

BLOCK_BYTES = 1 << 20
_DIRECT = getattr(os, "O_DIRECT", 0)
_REFUSED = (errno.EINVAL, errno.EOPNOTSUPP)


def open_direct(path: Path) -> io.FileIO:
    """Opens a new file for `write_blocks`; past the system's memory where the file system can."""
    try:
        return io.FileIO(path, "wb", opener=lambda name, flags: os.open(name, flags | _DIRECT, 0o666))
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return io.FileIO(path, "wb")


def write_blocks(
    reader: io.RawIOBase | io.BytesIO, file: io.FileIO, on_block: Callable[[memoryview], object]
) -> None:
    """Writes all that a reader has to a new file; `on_block` is shown it, block by block, before.

    Raises:
        OSError: The disk is full, say.
    """
    block = memoryview(mmap.mmap(-1, BLOCK_BYTES))  # Memory that begins where a page does, as disks want it.
    while num_bytes := read_into(reader, block):
        on_block(block[:num_bytes])
        _write(file, block[:num_bytes])


def read_into(reader: io.RawIOBase | io.BytesIO, into: memoryview) -> int:
    """Fills memory from a reader; returns how many bytes, fewer than there is room for only at its end."""
    filled = 0
    while filled < len(into) and (num_bytes := reader.readinto(into[filled:])):
        filled += num_bytes
    return filled


def _write(file: io.FileIO, data: memoryview) -> None:
    if len(data) < BLOCK_BYTES:
        _through_memory(file)
    while data:
        try:
            data = data[file.write(data) :]
        except OSError as error:
            if error.errno not in _REFUSED or not _through_memory(file):
                raise


def _through_memory(file: io.FileIO) -> bool:
    """Has the rest of a file go through the system's memory: no whole block; tells whether it did not yet."""
    flags = fcntl.fcntl(file, fcntl.F_GETFL)
    fcntl.fcntl(file, fcntl.F_SETFL, flags & ~_DIRECT)
    return bool(flags & _DIRECT)
