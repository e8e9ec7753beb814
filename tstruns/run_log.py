"""log.txt: what rank 0's loggers and warnings say, beside what they print."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def logging_to(file: Path | None) -> Iterator[None]:
    """Appends all log records of INFO and above to a file meanwhile; warnings and errors still reach stderr.

    Args:
        file: Where to; None, on ranks above 0, leaves logging as it is.
    """
    if file is None:
        yield
        return
    to_file, to_stderr = logging.FileHandler(file), logging.StreamHandler(sys.stderr)
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    to_stderr.setLevel(logging.WARNING)
    root = logging.getLogger()
    level = root.level
    # With a handler on the root, Python's last-resort printing to stderr is off: hence the second one.
    handlers: list[logging.Handler] = [to_file] if root.handlers else [to_file, to_stderr]
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    except BaseException:
        root.removeHandler(to_stderr)  # whoever called `tst` prints the error itself
        root.exception("stopped by")
        raise
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
        to_file.close()
