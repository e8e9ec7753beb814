"""The pool: an engine of several worker processes.

Workers are fresh interpreters (`python -m tstdata.worker`) that read pickled messages from their standard
input and answer on their standard output. So a script that calls `prepare` needs no
`if __name__ == "__main__"`, nothing is forked under running threads, and a worker whose parent was killed
sees its input end and stops. They alone load the tokenizer: so their parent takes no core from them.
"""

import collections
import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from .engine import EncoderSpec, OnDone, Progress
from .segments import load_segment, segment_stem
from .tasks import EncodeJob, Task
from .tokenizer import KnownTokenizer


class WorkerPool:
    """So many workers, which begin to load the tokenizer at once."""

    def __init__(self, workers: int, spec: EncoderSpec) -> None:
        self._spec, self._workers = spec, workers
        self._threads = ThreadPoolExecutor(workers)
        self._start_workers()

    def _start_workers(self) -> None:
        self._processes = [_start_worker() for _ in range(self._workers)]
        self._known: list[Future[KnownTokenizer]] = [
            self._threads.submit(_ask, process, self._spec) for process in self._processes
        ]
        # In threads that come free when a tokenizer is loaded.
        self._warnings: list[Future[str | None]] = [
            self._threads.submit(_await_choice, *pair)
            for pair in zip(self._processes, self._known, strict=True)
        ]

    def load(self) -> KnownTokenizer:
        """See `Engine`."""
        return self._known[0].result()

    def run(self, tasks: Sequence[Task], job: EncodeJob, progress: Progress, done: OnDone) -> None:
        """See `Engine`."""
        if any(process.poll() is not None for process in self._processes):
            self._end_workers()  # An error ended them that was none in the end: behind a limit.
            self._close_streams()
            self._start_workers()
        waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for task in tasks:
            waiting.put(task)
        handing = threading.Lock()
        hands: list[collections.deque[Task]] = [collections.deque() for _ in self._processes]
        said: set[str] = set()
        failed: dict[int, Exception] = {}

        def is_decided() -> bool:
            """Tells whether no task in hand comes before the first that failed."""
            with handing:
                return bool(failed) and all(task.index > min(failed) for hand in hands for task in hand)

        def drive(number: int) -> None:
            """Feeds one worker until no task waits."""
            process, warning = self._processes[number], self._warnings[number].result()
            if self._known[number].result().identity != self.load().identity:
                raise ValueError(
                    f"{self._spec.path} changed while it was in use: run the same command again."
                )
            if warning is not None and warning not in said:
                said.add(warning)
                warnings.warn(warning, stacklevel=1)
            given = hands[number]
            while True:
                # A task in hand, so that the worker does not wait for us; not when few are left to share.
                ahead = 2 if waiting.qsize() > 2 * len(self._processes) else 1
                with contextlib.suppress(queue.Empty):
                    while len(given) < ahead and not failed:
                        with handing:
                            given.append(waiting.get_nowait())
                        _send(process, (job, given[-1]))
                if not given or is_decided():
                    return
                try:
                    _await(process, progress)
                except ChildProcessError:
                    raise
                except Exception as error:  # Told by the worker, which goes on with what else it was given.
                    failed[given.popleft().index] = error
                else:
                    done(given[0], load_segment(segment_stem(job.work, given[0].index)))
                    given.popleft()

        def drive_until_decided(number: int) -> None:
            try:
                drive(number)
            except ChildProcessError:
                if not is_decided():  # Else it was ended, below, for what it did not matter any more.
                    raise
            if is_decided():
                self._end_workers()

        workers = range(min(len(self._processes), len(tasks)))
        futures = [self._threads.submit(drive_until_decided, number) for number in workers]
        ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
        if any(future.exception() for future in ended):
            self._end_workers()  # Whoever cleans up after the failure must not meet one that still writes.
        for future in ended:
            future.result()
        if failed:
            raise failed[min(failed)]

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the workers, also on Ctrl-C: with its worker gone, each driving thread ends."""
        self._end_workers()
        self._threads.shutdown()
        self._close_streams()

    def _close_streams(self) -> None:
        for process in self._processes:
            for stream in (process.stdin, process.stdout):
                # What a killed worker has not read can't be written any more.
                with contextlib.suppress(BrokenPipeError):
                    if stream is not None:
                        stream.close()

    def _end_workers(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()


def _start_worker() -> subprocess.Popen[bytes]:
    here = str(Path(__file__).resolve().parent.parent)
    paths = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "tstdata.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Nobody here multiplies matrices, and the threads for it would spin on the cores of the others.
        env={"OPENBLAS_NUM_THREADS": "1", **os.environ, "PYTHONPATH": paths},
    )


def _ask(process: subprocess.Popen[bytes], message: Any) -> Any:
    """Sends a message and waits for its answer."""
    _send(process, message)
    return _await(process, lambda *_: None)


def _await_choice(process: subprocess.Popen[bytes], known: "Future[KnownTokenizer]") -> Any:
    """Returns the warning, or None, of a worker that goes on from its tokenizer to choose an encoder."""
    known.result()
    return _await(process, lambda *_: None)


def _send(process: subprocess.Popen[bytes], message: Any) -> None:
    assert process.stdin is not None
    with _told_of_death(process):
        pickle.dump(message, process.stdin)
        process.stdin.flush()


def _await(process: subprocess.Popen[bytes], progress: Progress) -> Any:
    """Returns the answer to the oldest message that has none yet, which may be an error to raise."""
    assert process.stdout is not None
    while True:
        with _told_of_death(process):
            kind, value = pickle.load(process.stdout)
        if kind == "done":
            return value
        if kind == "error":
            raise value
        progress(*value)


@contextlib.contextmanager
def _told_of_death(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    except (EOFError, BrokenPipeError, pickle.UnpicklingError):
        raise ChildProcessError(
            f"a worker process died with exit code {process.wait()} (-9: killed, often for lack of memory). "
            "What it had finished is kept: run the same command again, perhaps with fewer --workers."
        ) from None
