"""What the processes of the pool do, from the first message to the last task.

The first of them reads an EncoderSpec from standard input and answers: with what is known of the tokenizer;
then, with an encoder, with a warning or None. Then it forks a worker for each pair of pipes: what takes
seconds and hundreds of megabytes is loaded once, and shared. At last it tells of each that ends.

A worker reads pairs of job and task from its first pipe, and answers each on the other with any number of
("progress", (bytes, tokens)), then ("done", None) or ("error", exception), all pickled.
"""

import contextlib
import gc
import os
import pickle
import queue
import select
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, NoReturn

from .encoder import Encoder
from .head_start import HeadStart
from .progress import Telling
from .tasks import run_task

Pipe = tuple[int, int]


def serve(pipes: Sequence[Pipe], answers: BinaryIO, head_start: HeadStart | None) -> None:
    """Loads, forks, and waits until all workers have ended."""
    try:
        spec = pickle.load(sys.stdin.buffer)
    except (EOFError, pickle.UnpicklingError):  # The parent has ended, perhaps in the middle of it.
        return
    with _ending_with_input():
        try:
            loaded = spec.load(head_start)
            _answer(answers, "done", loaded.known)
            # In a thread: with it end the tables that the fast encoder keeps for each thread. Workers would
            # get them in common, and each would have to copy what it writes to.
            with ThreadPoolExecutor(1) as thread:
                encoder, warning = thread.submit(spec.choose, loaded).result()
        except Exception as error:  # Told to the parent, which raises it in the user's process.
            _answer(answers, "error", portable(error))
            return
    try:
        workers = _fork(pipes, encoder, answers)
    except OSError as error:
        _answer(answers, "error", portable(error))
        return
    _answer(answers, "done", warning)
    while workers:
        pid, status = os.wait()
        _answer(answers, "ended", (workers.pop(pid), os.waitstatus_to_exitcode(status)))


@contextlib.contextmanager
def _ending_with_input() -> Iterator[None]:
    """Ends the process when standard input does: nobody waits for it any more. Leaves no thread behind."""
    seen, done = os.pipe()

    def watch() -> None:
        if 0 in select.select([0, seen], [], [])[0]:
            os._exit(0)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        os.write(done, b".")
        watching.join()
        os.close(seen)
        os.close(done)


def _fork(pipes: Sequence[Pipe], encoder: Encoder, answers: BinaryIO) -> dict[int, int]:
    """Forks the workers; returns the number of each by its process id."""
    _wait_for_threads()
    gc.collect()
    gc.freeze()  # A collection writes to every object there is: no page would stay shared.
    workers = {}
    for number, pipe in enumerate(pipes):
        pid = os.fork()
        if pid == 0:
            try:
                answers.close()
                for end in (end for one in pipes[number + 1 :] for end in one):
                    os.close(end)  # Else a later worker's pipe would not end with that worker.
                _run_tasks(encoder, *pipe)
            except BaseException:  # No error of a task, which the parent is told of.
                traceback.print_exc()
            finally:
                os._exit(1)
        workers[pid] = number
        for end in pipe:
            os.close(end)
    return workers


def _wait_for_threads() -> None:
    """Waits for the system to end threads that Python knows to have ended, where it tells of them."""
    with contextlib.suppress(OSError):
        for _ in range(1000):
            if len(os.listdir("/proc/self/task")) == 1:
                return
            time.sleep(0.001)


def _run_tasks(encoder: Encoder, inbox: int, outbox: int) -> NoReturn:
    """Runs tasks until the inbox ends."""
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(os.fdopen(inbox, "rb"), tasks), daemon=True).start()
    answers = os.fdopen(outbox, "wb")
    telling = Telling(lambda *amounts: _answer(answers, "progress", amounts))
    while True:
        job, task = tasks.get()
        try:
            run_task(task, job, encoder, telling.advance)
            telling.tell()
        except Exception as error:  # Told to the parent, which raises it in the user's process.
            _answer(answers, "error", portable(error))
        else:
            _answer(answers, "done", None)


def _receive(stream: BinaryIO, tasks: "queue.SimpleQueue[Any]") -> None:
    """Queues tasks; when the parent is gone or has no more work, ends the process at once."""
    while True:
        try:
            tasks.put(pickle.load(stream))
        except (EOFError, pickle.UnpicklingError):
            os._exit(0)
        except BaseException:  # Nobody would tell us any more that the parent has gone.
            traceback.print_exc()
            os._exit(1)


def _answer(answers: BinaryIO, kind: str, value: Any) -> None:
    """Tells the parent; without one there is nothing left to do."""
    try:
        pickle.dump((kind, value), answers)
        answers.flush()
    except BrokenPipeError:
        os._exit(0)


def portable(error: Exception) -> Exception:
    """An exception that survives pickling; kinds of libraries may not."""
    if isinstance(error, OSError):
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return OSError(str(error))
        return error
    if isinstance(error, ValueError):
        return ValueError(str(error))
    return RuntimeError(f"in a worker: {type(error).__name__}: {error}")
