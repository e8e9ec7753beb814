"""The first process of the pool: `python -m tstdata.worker TOKENIZER IN:OUT IN:OUT ...`.

It is talked to through standard input and output, and gives each worker that it forks a pair of file
descriptors: see `serving`. TOKENIZER is empty, or that of which the fast encoder is to be made.
"""

import os
import signal
import sys
from typing import BinaryIO

from .head_start import HeadStart


def main() -> None:
    """Begins with what takes longest, and imports all else meanwhile."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends us.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # Who ignores it, and it is inherited, is told of no child.
    tokenizer, *pairs = sys.argv[1:]
    pipes = [(int(inbox), int(outbox)) for inbox, _, outbox in (pair.partition(":") for pair in pairs)]
    answers = _take_standard_output()
    head_start = HeadStart.of(tokenizer) if tokenizer else None
    from .serving import serve

    serve(pipes, answers, head_start)


def _take_standard_output() -> BinaryIO:
    """Returns it for answers alone: what anything prints goes to the errors, not between them."""
    taken = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return taken


if __name__ == "__main__":
    main()
