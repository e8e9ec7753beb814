"""Progress: a bar on standard error, in bytes of the corpus, with tokens a second."""

import sys
import threading
import time
from types import TracebackType

from tqdm import tqdm


class Progress:
    """A bar that any thread may advance; silent unless `shown`."""

    def __init__(self, title: str, total_bytes: int, shown: bool) -> None:
        self._bar = tqdm(
            total=total_bytes,
            desc=title,
            unit="B",
            unit_scale=True,
            file=sys.stderr,
            disable=not shown,
            mininterval=0.5,
        )
        self._lock = threading.Lock()
        self._tokens = 0
        self._start = time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, num_bytes: int, num_tokens: int = 0) -> None:
        """Counts bytes read and tokens made since the last call."""
        with self._lock:
            self._tokens += num_tokens
            if self._tokens:
                rate = self._tokens / max(time.monotonic() - self._start, 1e-9)
                self._bar.set_postfix_str(f"{tqdm.format_sizeof(rate)} tokens/s", refresh=False)
            self._bar.update(num_bytes)
