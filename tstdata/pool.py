"""The pool: runs encoding tasks, in this process or in several worker processes.

Workers are fresh interpreters (`python -m tstdata.worker`) that read pickled tasks from their standard input
and answer on their standard output. So a script that calls `prepare` needs no `if __name__ == "__main__"`,
nothing is forked under running threads, and a worker whose parent was killed sees its input end and stops.
"""

import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .card import TokenizerIdentity
from .encoder import Encoder, HuggingFaceEncoder
from .tasks import EncodeJob, Task, run_task
from .tokenizer import load_tokenizer

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class EncoderSpec:
    """What a worker makes its encoder from; the identity is what the tokenizer must still be."""

    path: str
    identity: TokenizerIdentity

    def build(self) -> Encoder:
        """Loads the tokenizer anew.

        Raises:
            ValueError: Its files changed since the preparation began.
        """
        wanted = self.identity
        loaded = load_tokenizer(self.path, wanted.eos_token, wanted.bos_id is not None)
        if loaded.identity != wanted:
            raise ValueError(f"{self.path} changed while it was in use: run the same command again.")
        return HuggingFaceEncoder(loaded.backend)


def run_tasks(
    tasks: Sequence[Task], job: EncodeJob, encoder: EncoderSpec, workers: int, on_progress: Progress
) -> None:
    """Runs all tasks to committed segments; `on_progress` is told (bytes read, tokens made) from any thread.

    Raises:
        ValueError: What a task met, from the first that failed; the tasks that ended stay committed.
        OSError: A worker died.
    """
    if workers == 1 or len(tasks) <= 1:
        engine = encoder.build() if tasks else None
        for task in tasks:
            assert engine is not None
            run_task(task, job, engine, on_progress)
        return
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    processes = [_start_worker() for _ in range(min(workers, len(tasks)))]
    with ThreadPoolExecutor(len(processes)) as pool:
        try:
            futures = [
                pool.submit(_drive, process, waiting, (job, encoder), on_progress) for process in processes
            ]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            errors = [error for future in done if (error := future.exception()) is not None]
        finally:
            _stop(processes)  # Also on Ctrl-C: with its worker gone, each driving thread ends.
    if errors:
        raise errors[0]


def _start_worker() -> subprocess.Popen[bytes]:
    # One thread in each worker's encoder: the workers are what uses the cores.
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
    here = str(Path(__file__).resolve().parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "tstdata.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _drive(
    process: subprocess.Popen[bytes], waiting: "queue.SimpleQueue[Task]", setup: Any, on_progress: Progress
) -> None:
    """Feeds one worker until no task waits."""
    try:
        _send(process, setup)
        while True:
            try:
                task = waiting.get_nowait()
            except queue.Empty:
                return
            _send(process, task)
            _await(process, on_progress)
    except (EOFError, BrokenPipeError, pickle.UnpicklingError):
        raise ChildProcessError(
            f"a worker process died with exit code {process.wait()} (-9: killed, often for lack of memory). "
            "What it had finished is kept: run the same command again, perhaps with fewer --workers."
        ) from None


def _send(process: subprocess.Popen[bytes], message: Any) -> None:
    assert process.stdin is not None
    pickle.dump(message, process.stdin)
    process.stdin.flush()


def _await(process: subprocess.Popen[bytes], on_progress: Progress) -> None:
    assert process.stdout is not None
    while True:
        kind, value = pickle.load(process.stdout)
        if kind == "done":
            return
        if kind == "error":
            raise value
        on_progress(*value)
