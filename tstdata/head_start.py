"""The head start: fastokens loads a `tokenizer.json` from the disk while the reference is loaded from it too.

It counts only if the reference, with its config's tokens added, has no other added tokens than the file; and
what it gives has to prove itself like any fast encoder.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Whoever begins early imports nothing that takes long.
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
# The variables that tell fastokens how many threads to load a tokenizer with, and to encode with.
_THREADS = ("RAYON_NUM_THREADS", "FASTOKENS_BPE_THREADS")
_FLAGS = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")


def load_fastokens(definition: str) -> Any:
    """Returns fastokens' tokenizer of the text of a `tokenizer.json`.

    Raises:
        ValueError: fastokens can't load it; it says why.
        ImportError: It is not there.
    """
    # It reads them when it first needs threads; workers are what uses the cores.
    for threads in _THREADS:
        os.environ.setdefault(threads, "1")
    import fastokens  # type: ignore[import-untyped]

    try:
        with panics_as_errors():
            loaded = fastokens.Tokenizer.from_json_str(definition)
    except Exception as error:  # Whatever a native library raises on what it does not know.
        raise ValueError(str(error)) from None
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


@contextlib.contextmanager
def panics_as_errors() -> Iterator[None]:
    """Raises a RuntimeError where a library of Rust panics, which for Python is no Exception."""
    try:
        yield
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as panic:
        raise RuntimeError(f"{type(panic).__name__}: {panic}") from None


class HeadStart:
    """A tokenizer that a thread is loading; `take` ends the thread."""

    def __init__(self, file: Path) -> None:
        """Begins with a `tokenizer.json`."""
        self._file = file
        self._definition = ""
        self._loaded: Any = None
        self._is_loading = threading.Event()
        self._thread = threading.Thread(target=self._load)
        self._thread.start()
        self._is_loading.wait()  # The reference gives the interpreter to nobody while it is loaded.

    @classmethod
    def of(cls, path: str) -> "HeadStart | None":
        """Begins with the `tokenizer.json` at a path or in it; None if it is another library's tokenizer."""
        try:
            file = Path(path) / TOKENIZER_FILE if Path(path).is_dir() else Path(path)
            return cls(file) if file.suffix == ".json" and file.is_file() else None
        except (OSError, RuntimeError):  # Not readable, or no more threads: told of without a head start.
            return None

    def _load(self) -> None:
        try:
            self._definition = self._file.read_text("utf-8")
            self._is_loading.set()
            self._loaded = load_fastokens(self._definition)
        except (OSError, ValueError, ImportError):
            pass  # Whoever needs it loads it again, and tells what is wrong.
        finally:
            self._is_loading.set()

    def end(self) -> None:
        """Ends the thread: waits for it."""
        self._thread.join()

    def take(self, backend: "Tokenizer") -> Any:
        """Returns fastokens' tokenizer, or None if it is not that of `backend`, or can't be loaded."""
        tokens = backend.get_added_tokens_decoder().items()
        added = {number: tuple(getattr(token, flag) for flag in _FLAGS) for number, token in tokens}
        is_same = added == _added_tokens(self._definition)  # While the thread goes on.
        self.end()
        loaded, self._loaded = self._loaded, None
        return loaded if is_same else None


def _added_tokens(definition: str) -> dict[int, tuple[Any, ...]] | None:
    import simdjson  # Makes objects of Python of what is asked for alone, of megabytes.

    try:
        parsed: Any = simdjson.Parser().parse(definition.encode())
        tokens = parsed["added_tokens"].as_list()
        return {token["id"]: tuple(token[flag] for flag in _FLAGS) for token in tokens}
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
