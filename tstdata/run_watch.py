"""What each reading process looks for while it reads: its parent's death, and another process's failure."""

import logging
import multiprocessing
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
        in_worker: Whether this process is to die with the rank that started it: a worker whose rank was
            killed may wait for others for ever, with the cache and the shared memory in its hands.
    """

    def __init__(self, dataset: Any, on_end: Callable[[Any, str], None], in_worker: bool) -> None:
        self.process, self._on_end = os.getpid(), on_end
        # A fork server's children have that for a parent, not the rank; a fork's sibling keeps its pipe open.
        self._parent, self._starter = os.getppid(), multiprocessing.parent_process()
        self._in_worker = in_worker
        self._dataset, self._stopped = weakref.ref(dataset), threading.Event()
        threading.Thread(target=self._run, daemon=True, name="watching the run").start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()

    def _run(self) -> None:
        told = False
        while not self._stopped.wait(WATCH_SECONDS):
            if self._in_worker and self._is_orphan():
                os._exit(1)
            dataset = self._dataset()
            if dataset is None:
                return
            if not told and (message := dataset.end_told()) is not None:
                told = True
                logger.error("%s", message)
                self._on_end(dataset, message)
            del dataset

    def _is_orphan(self) -> bool:
        return os.getppid() != self._parent or (self._starter is not None and not self._starter.is_alive())


class WatchedReading(_Base):
    """Mixed into a StreamingDataset: what fails elsewhere ends reading here, with the same message."""

    # The process that made the dataset: others are its workers.
    _maker: int
    _failure: BaseException | None = None
    _watch: RunWatch | None = None
    # Whether what reading fails with is its last sample, and not raised: in a BagDataLoader's workers, which
    # send the rows before it along.
    yields_failures: bool = False

    def __iter__(self) -> Iterator[Any]:
        """Yields what the base class does; raises what a background thread or another process failed with."""
        try:
            yield from self._watched()
        except Exception:
            if not self.yields_failures:
                raise
            # torch is loaded in a worker anyway, and here only then.
            from .batch_groups import wrap_failure

            yield wrap_failure()

    def _watched(self) -> Iterator[Any]:
        if self._watch is None or self._watch.process != os.getpid():
            self._watch = RunWatch(self, _end_reading, in_worker=os.getpid() != self._maker)
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
