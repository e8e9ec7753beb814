"""Engines: what runs the tasks of a preparation. This one is the calling process; `pool` has workers."""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from .encoder import Encoder
from .fast_encoder import choose_encoder, reference_encoder
from .head_start import HeadStart
from .segments import Segment
from .tasks import EncodeJob, Task, run_task
from .tokenizer import KnownTokenizer, LoadedTokenizer, load_tokenizer

Progress = Callable[[int, int], object]
OnDone = Callable[[Task, Segment], object]


@dataclass(frozen=True)
class EncoderSpec:
    """What every process of an engine makes its encoder from; see `load_tokenizer` and `choose_encoder`."""

    path: str
    eos_token: str | None
    bos: bool
    wish: str
    sample: tuple[str, ...]

    @property
    def fast_path(self) -> str:
        """Where the fast encoder is to be loaded from; empty if it is not wanted."""
        return self.path if self.wish != "reference" else ""

    def load(self, head_start: HeadStart | None = None) -> LoadedTokenizer:
        """Loads the tokenizer, and begins to load the fast encoder, if that has not begun."""
        if head_start is None and self.fast_path:
            head_start = HeadStart.of(self.fast_path)
        try:
            loaded = load_tokenizer(self.path, self.eos_token, self.bos)
        except BaseException:
            if head_start is not None:
                head_start.end()
            raise
        return dataclasses.replace(loaded, head_start=head_start)

    def choose(self, loaded: LoadedTokenizer) -> tuple[Encoder, str | None]:
        """Returns the encoder and, perhaps, a warning."""
        library = loaded.library
        if library is not None and loaded.backend is library:
            return reference_encoder(loaded), None
        return choose_encoder(
            loaded.backend, self.wish, self.sample, reference_encoder(loaded), loaded.head_start
        )


class Engine(Protocol):
    """Runs tasks; a context manager, so that what it holds ends with it."""

    def load(self) -> KnownTokenizer:
        """Loads the tokenizer where tasks are run, or here if that is elsewhere; returns what is known of it.

        Raises:
            ValueError: The files can't be read, or it has no end-of-text: see `load_tokenizer`.
        """

    def run(self, tasks: Sequence[Task], job: EncodeJob, progress: Progress, done: OnDone) -> None:
        """Runs all tasks to committed segments, with the tokenizer that was loaded in all processes.

        Args:
            tasks: In any order; an engine starts them in this one.
            job: How.
            progress: Told of (bytes read, tokens made), from any thread.
            done: Told of each task and its segment, from any thread.

        Raises:
            ValueError: What a task met, from the first one in order of those that failed. All before it, and
                perhaps some after it, were run, told of and stay committed.
            OSError: The disk failed, or a worker died.
        """

    def __enter__(self) -> "Engine": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class InProcess:
    """The calling process as an engine."""

    def __init__(self, spec: EncoderSpec) -> None:
        self._spec = spec
        self._loaded: LoadedTokenizer | None = None
        self._encoder: Encoder | None = None  # Chosen once: its proof takes a second.

    def load(self) -> KnownTokenizer:
        """See `Engine`."""
        self._loaded = self._spec.load()
        return self._loaded.known

    def run(self, tasks: Sequence[Task], job: EncodeJob, progress: Progress, done: OnDone) -> None:
        """See `Engine`."""
        if tasks and self._encoder is None:
            assert self._loaded is not None
            self._encoder, warning = self._spec.choose(self._loaded)
            if warning is not None:
                warnings.warn(warning, stacklevel=2)
        for task in tasks:
            assert self._encoder is not None
            done(task, run_task(task, job, self._encoder, progress))

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *_: object) -> None:
        pass
