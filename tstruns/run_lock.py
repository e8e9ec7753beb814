"""One process at a time trains in a run directory; a killed one's claim ends with it."""

import fcntl
import os
import time
from pathlib import Path

# A killed run's data workers notice within some seconds, and hold its lock until then.
PATIENCE_SECONDS = 15.0


class RunLock:
    """An advisory lock on a file, held until `release` or the end of the process, however it ends.

    Args:
        file: Made if needed; it holds the process id of whoever has the lock.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._handle: int | None = None

    def acquire(self, patience: float = PATIENCE_SECONDS) -> None:
        """Takes the lock, waiting for it that many seconds.

        Raises:
            ValueError: Another process keeps it.
        """
        handle = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644)
        end = time.monotonic() + patience
        while not _locked(handle):
            if time.monotonic() > end:
                holder = os.read(handle, 32).decode().strip()
                os.close(handle)
                raise ValueError(
                    f"{self.file.parent} is being trained by process {holder}; wait for it or stop it, or "
                    "give this run another run_dir"
                )
            time.sleep(0.1)
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        self._handle = handle

    def release(self) -> None:
        """Gives the lock back, if it is held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
