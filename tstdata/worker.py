"""A worker of the pool, started as `python -m tstdata.worker`.

It reads an EncoderSpec and then pairs of job and task from standard input. It answers each on standard output
with any number of ("progress", (bytes, tokens)), then ("done", value) or ("error", exception), all pickled.
The spec it answers twice: with what is known of the tokenizer; then, with an encoder, with a warning or None.
"""

import os
import pickle
import queue
import signal
import sys
import threading
from typing import Any, BinaryIO

from .progress import Telling
from .tasks import run_task


def main() -> None:
    """Serves tasks until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends us.
    # What anything prints must not get between the answers: they alone keep the real standard output.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, inbox), daemon=True).start()

    def answer(kind: str, value: Any) -> None:
        pickle.dump((kind, value), answers)
        answers.flush()

    telling = Telling(lambda *amounts: answer("progress", amounts))
    encoder = None
    while True:
        message = inbox.get()
        try:
            value: Any = None
            if encoder is None:
                loaded = message.load()
                answer("done", loaded.known)
                encoder, value = message.choose(loaded)
            else:
                job, task = message
                run_task(task, job, encoder, telling.advance)
                telling.tell()
        except Exception as error:  # Told to the parent, which raises it in the user's process.
            answer("error", portable(error))
        else:
            answer("done", value)


def _receive(stream: BinaryIO, inbox: "queue.SimpleQueue[Any]") -> None:
    """Puts messages into the inbox; when the parent is gone or has no more work, ends the process at once."""
    while True:
        try:
            inbox.put(pickle.load(stream))
        except (EOFError, pickle.UnpicklingError):
            os._exit(0)


def portable(error: Exception) -> Exception:
    """An exception that survives pickling; kinds of libraries may not."""
    if isinstance(error, OSError):
        return error
    if isinstance(error, ValueError):
        return ValueError(str(error))
    return RuntimeError(f"in a worker: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
