"""What each reading process looks for while it reads: its parent's death, and another process's failure."""

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from .shard_states import WATCH_SECONDS

logger = logging.getLogger(__name__)

# To a type checker, whatever comes after it among the bases: only the dataset module imports streaming.
_Base: Any = object


class RunWatch:
    """A thread that looks for both some times a second, for as long as the dataset exists.

    Args:
        dataset: A `SharedShardStates`; not kept alive.
        on_end: Called with the dataset and the message once another process of the node has ended the run.
        parent: The process to die with; None: none. A worker whose rank was killed would wait for its other
            workers for ever, with the cache and the shared memory in its hands.
    """

    def __init__(self, dataset: Any, on_end: Callable[[Any, str], None], parent: int | None) -> None:
        self.process, self._on_end, self._parent = os.getpid(), on_end, parent
        self._dataset, self._stopped = weakref.ref(dataset), threading.Event()
        threading.Thread(target=self._run, daemon=True, name="watching the run").start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()

    def _run(self) -> None:
        told = False
        while not self._stopped.wait(WATCH_SECONDS):
            if self._parent is not None and os.getppid() != self._parent:
                os._exit(1)
            dataset = self._dataset()
            if dataset is None:
                return
            if not told and (message := dataset.end_told()) is not None:
                told = True
                logger.error("%s", message)
                self._on_end(dataset, message)
            del dataset


class WatchedReading(_Base):
    """Mixed into a StreamingDataset: what fails elsewhere ends reading here, with the same message."""

    # The process that made the dataset: others are its workers.
    _maker: int
    _failure: BaseException | None = None
    _watch: RunWatch | None = None

    def __iter__(self) -> Iterator[Any]:
        """Yields what the base class does; raises what a background thread or another process failed with."""
        if self._watch is None or self._watch.process != os.getpid():
            parent = os.getppid() if os.getpid() != self._maker else None
            self._watch = RunWatch(self, _end_reading, parent)
        try:
            yield from super().__iter__()
        except RuntimeError:
            if self._failure is None:
                raise
        # When one of its threads fails, Streaming may end the epoch quietly and only fail in the next one.
        if self._failure is not None:
            raise RuntimeError(f"{self.stored.where} could not be read: {self._failure}") from self._failure

    def on_exception(self, future: Future[None]) -> None:
        """Keeps what a background thread failed with, for `__iter__` to raise."""
        self._failure = future.exception() or self._failure
        if self._failure is not None:
            self._event.set()

    def stop_watching(self) -> None:
        """Ends this process's watch."""
        if self._watch is not None and self._watch.process == os.getpid():
            self._watch.stop()


def _end_reading(dataset: Any, message: str) -> None:
    dataset._failure = OSError(message)
    dataset._event.set()
