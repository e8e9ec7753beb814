"""The team: the processes of the pool, and how they are talked to and ended.

Workers come of one fresh interpreter (`python -m tstdata.worker`), which loads the tokenizer for all of them.
So a script that calls `prepare` needs no `if __name__ == "__main__"`, and nothing is forked under running
threads. They read pickled messages from a pipe and answer through another; one whose parent was killed sees
its input end and stops.
"""

import contextlib
import fcntl
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, BinaryIO, cast

from .engine import EncoderSpec, Progress
from .tokenizer import KnownTokenizer

# There must be no thread when it forks. Nobody there multiplies matrices; jemalloc, which pyarrow starts but
# does not use by default, then tidies up when it is called.
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "PYTHONSAFEPATH": "1",  # A queue.py in the folder that one works in is not Python's.
}


class Team:
    """The processes: one that loads for all, and the workers that it forks."""

    def __init__(self, workers: int, spec: EncoderSpec) -> None:
        """Starts the first process, which begins to load at once."""
        self._spec = spec
        self.is_ended = False
        _allow_files(4 * workers)
        here = str(Path(__file__).resolve().parent.parent)
        paths = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
        with contextlib.ExitStack() as on_failure:
            pipes = [(_pipe(on_failure), _pipe(on_failure)) for _ in range(workers)]
            theirs = [(inbox[0], outbox[1]) for inbox, outbox in pipes]
            numbers = [f"{inbox}:{outbox}" for inbox, outbox in theirs]
            self._first = subprocess.Popen(
                [sys.executable, "-m", "tstdata.worker", spec.fast_path, *numbers],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[end for pipe in theirs for end in pipe],
                start_new_session=True,  # A group, to be killed as one.
                env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": paths},
            )
            on_failure.pop_all()
        for end in (end for pipe in theirs for end in pipe):
            os.close(end)
        self._inboxes = [os.fdopen(inbox[1], "wb") for inbox, _ in pipes]
        self._outboxes = [os.fdopen(outbox[0], "rb") for _, outbox in pipes]
        self._exit_codes: dict[int, int] = {}
        self._asking, self._ending = threading.Lock(), threading.Lock()

    def load(self) -> Any:
        """Returns what is known of the tokenizer; the process goes on to choose an encoder."""
        assert self._first.stdin is not None
        with self._told_of_death():
            pickle.dump(self._spec, self._first.stdin)
            self._first.stdin.flush()
        return _value(self._read(self._first.stdout))

    def choose(self, known: "Future[KnownTokenizer]") -> Any:
        """Returns the warning, or None, that comes with the encoder."""
        known.result()
        return _value(self._read(self._first.stdout))

    def send(self, number: int, message: Any) -> None:
        """Sends a worker a message."""
        with self._told_of_death(number):
            pickle.dump(message, self._inboxes[number])
            self._inboxes[number].flush()

    def wait(self, number: int, progress: Progress) -> None:
        """Waits for a worker's answer to the oldest message without one; it may be an error to raise."""
        while (message := self._read(self._outboxes[number], number))[0] == "progress":
            progress(*message[1])
        _value(message)

    def _read(self, stream: Any, number: int | None = None) -> Any:
        with self._told_of_death(number):
            return pickle.load(stream)

    def end(self) -> None:
        """Kills them all; returns when none writes any more."""
        with self._ending:
            self.is_ended = True
            if self._first.returncode is None:  # Not waited for: the group's number is no other's yet.
                with contextlib.suppress(ProcessLookupError, PermissionError):  # All of them have ended.
                    os.killpg(self._first.pid, signal.SIGKILL)
            for inbox in self._inboxes:
                with contextlib.suppress(BrokenPipeError):  # What a killed worker has not read is lost.
                    inbox.close()
            for outbox in self._outboxes:
                while not outbox.closed and outbox.read(1 << 16):  # It ends when its worker has ended.
                    pass

    def close(self) -> None:
        """Ends them, and lets go of what they were talked to through."""
        self.end()
        if not all(outbox.closed for outbox in self._outboxes):
            for outbox in self._outboxes:
                outbox.close()
            self._first.communicate()

    @contextlib.contextmanager
    def _told_of_death(self, number: int | None = None) -> Iterator[None]:
        try:
            yield
        except (EOFError, BrokenPipeError, pickle.UnpicklingError, ValueError) as error:
            if number is None and not isinstance(error, EOFError | BrokenPipeError):
                self._first.kill()  # It lives, but what it says is no answer.
            code = self._first.wait() if number is None else self._exit_code(number)
            how = "" if code is None else f" with exit code {code} (-9: killed, often for lack of memory)"
            raise ChildProcessError(
                f"a worker process died{how}. What it had finished is kept: run the same command again, "
                "perhaps with fewer --workers."
            ) from None

    def _exit_code(self, number: int) -> int | None:
        """Returns what the first process tells of a worker that ended; None if it has been killed as well."""
        with self._asking:
            while number not in self._exit_codes:
                try:
                    _, (ended, code) = pickle.load(cast(BinaryIO, self._first.stdout))
                except (EOFError, pickle.UnpicklingError):
                    return None
                self._exit_codes[ended] = code
            return self._exit_codes[number]


def _pipe(on_failure: contextlib.ExitStack) -> tuple[int, int]:
    """Returns the ends of a pipe; neither has the number of a standard stream, even if those are closed here.

    The process that gets an end by its number has standard streams of its own.
    """
    low = os.pipe()
    try:
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in low]
    finally:
        for end in low:
            os.close(end)
    for end in ends:
        on_failure.callback(os.close, end)
    return ends[0], ends[1]


def _allow_files(number: int) -> None:
    """Raises this process's limit of open files, often 1,024, where so many more would come near it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if number > soft // 2:
        wanted = soft + number
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def _value(message: tuple[str, Any]) -> Any:
    kind, value = message
    if kind == "error":
        raise value
    return value
