"""The pool: an engine of several worker processes, each fed by a thread of the calling process.

Workers alone load the tokenizer: so the calling process takes no core from them.
"""

import collections
import contextlib
import queue
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

from .engine import EncoderSpec, OnDone, Progress
from .segments import load_segment, segment_stem
from .tasks import EncodeJob, Task
from .team import Team
from .tokenizer import KnownTokenizer


class WorkerPool:
    """So many workers; their tokenizer begins to be loaded at once."""

    def __init__(self, workers: int, spec: EncoderSpec) -> None:
        self._spec, self._workers = spec, workers
        self._threads = ThreadPoolExecutor(workers)
        self._start_workers()

    def _start_workers(self) -> None:
        self._team = Team(self._workers, self._spec)
        self._known: Future[KnownTokenizer] = self._threads.submit(self._team.load)
        self._warning: Future[str | None] = self._threads.submit(self._team.choose, self._known)

    def load(self) -> KnownTokenizer:
        """See `Engine`."""
        return self._known.result()

    def run(self, tasks: Sequence[Task], job: EncodeJob, progress: Progress, done: OnDone) -> None:
        """See `Engine`."""
        if not tasks:
            return
        if self._team.is_ended:  # By an error that was none in the end: behind a limit.
            self._team.close()
            self._start_workers()
        if (warning := self._warning.result()) is not None:
            warnings.warn(warning, stacklevel=1)
        waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for task in tasks:
            waiting.put(task)
        handing = threading.Lock()
        hands: list[collections.deque[Task]] = [collections.deque() for _ in range(self._workers)]
        failed: dict[int, Exception] = {}

        def is_decided() -> bool:
            """Tells whether no task in hand comes before the first that failed."""
            with handing:
                return bool(failed) and all(task.index > min(failed) for hand in hands for task in hand)

        def drive(number: int) -> None:
            """Feeds one worker until no task waits."""
            given = hands[number]
            while True:
                # A task in hand, so that the worker does not wait for us; not when few are left to share.
                ahead = 2 if waiting.qsize() > 2 * self._workers else 1
                with contextlib.suppress(queue.Empty):
                    while len(given) < ahead and not failed:
                        with handing:
                            given.append(waiting.get_nowait())
                        self._team.send(number, (job, given[-1]))
                if not given or is_decided():
                    return
                try:
                    self._team.wait(number, progress)
                except ChildProcessError:
                    raise
                except Exception as error:  # Told by the worker, which goes on with what else it was given.
                    with handing:
                        failed[given.popleft().index] = error
                else:
                    done(given[0], load_segment(segment_stem(job.work, given[0].index)))
                    with handing:
                        given.popleft()

        def drive_until_decided(number: int) -> None:
            try:
                drive(number)
            except ChildProcessError:
                if not is_decided():  # Else it was ended, below, for what it did not matter any more.
                    raise
            if is_decided():
                self._team.end()

        workers = range(min(self._workers, len(tasks)))
        futures = [self._threads.submit(drive_until_decided, number) for number in workers]
        ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
        if any(future.exception() for future in ended):
            self._team.end()  # Whoever cleans up after the failure must not meet one that still writes.
        for future in ended:
            future.result()
        if failed:
            raise failed[min(failed)]

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the workers, also on Ctrl-C: with its worker gone, each driving thread ends."""
        self._team.end()
        self._threads.shutdown()
        self._team.close()
