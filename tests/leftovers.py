"""Clears what killed runs leave behind: Streaming's shared memory and its lock files.

Streaming's own `clean_stale_shared_memory` also takes away the memory of runs that live, and stops at the
first free number, which lock files alone make. Here a number is cleared when no process has it open.
"""

import contextlib
import re
import tempfile
from pathlib import Path

NUMBERED = re.compile(r"^(\d{6})_\w+$")


def numbers_in_use() -> set[str]:
    """The numbers whose shared memory some living process maps or holds open."""
    found: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        # A process may end, or be another user's, while it is looked at.
        with contextlib.suppress(OSError):
            found.update(re.findall(r"/dev/shm/(\d{6})_", (process / "maps").read_text()))
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    found.update(re.findall(r"^/dev/shm/(\d{6})_", str(link.readlink())))
    return found


def clear() -> None:
    """Removes shared memory and lock files that belong to no living process; does nothing but on Linux."""
    folders = [Path("/dev/shm"), Path(tempfile.gettempdir())]
    if not folders[0].is_dir() or not Path("/proc/self/maps").exists():
        return
    files = [path for folder in folders for path in folder.iterdir() if NUMBERED.match(path.name)]
    used = numbers_in_use() if files else set()
    for path in files:
        if path.name[:6] not in used:
            path.unlink(missing_ok=True)
