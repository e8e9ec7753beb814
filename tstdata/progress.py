"""Progress: a bar on standard error, in bytes of the corpus, with tokens a second."""

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tqdm import tqdm

# How often a process that others wait for tells them.
_TELLING_SECONDS = 0.25


class _Bar(tqdm):
    """A bar that works out its rate of tokens when it is drawn."""

    tokens = 0

    @property
    def format_dict(self) -> Any:
        shown = super().format_dict
        if self.tokens:
            rate = self.tokens / max(shown["elapsed"], 1e-9)
            shown["postfix"] = f"{tqdm.format_sizeof(rate)} tokens/s"
        return shown


class Progress:
    """A bar of bytes, or another unit, that any thread may advance; silent unless `shown`."""

    def __init__(self, title: str, total: int, shown: bool, unit: str = "B") -> None:
        self._bar = _Bar(
            total=total,
            desc=title,
            unit=unit,
            unit_scale=True,
            file=sys.stderr,
            disable=not shown or sys.stderr is None,  # Closed: nobody would see it.
            mininterval=0.5,
        )
        self._lock = threading.Lock()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, num_bytes: int, num_tokens: int = 0) -> None:
        """Counts bytes read and tokens made since the last call."""
        with self._lock:
            self._bar.tokens += num_tokens
            self._bar.update(num_bytes)


class Telling:
    """Progress on its way to another process: many amounts in one message, as each costs both time."""

    def __init__(self, tell: Callable[[int, int], object]) -> None:
        self._tell, self._told = tell, time.monotonic()
        self._num_bytes = self._num_tokens = 0

    def advance(self, num_bytes: int, num_tokens: int) -> None:
        """Counts; tells of all since the last time if that is some time ago."""
        self._num_bytes += num_bytes
        self._num_tokens += num_tokens
        if time.monotonic() - self._told >= _TELLING_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Tells of what has not been told."""
        self._tell(self._num_bytes, self._num_tokens)
        self._num_bytes = self._num_tokens = 0
        self._told = time.monotonic()
