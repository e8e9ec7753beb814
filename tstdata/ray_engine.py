"""The Ray engine: the same tasks on a Ray cluster, by Ray's own scheduling and retries.

A task gets the tokenizer's files through Ray's object store, encodes in a scratch directory of its node and
returns the segment's files the same way; the driver commits them, as if it had made them. So the nodes need
this package and the sources, at the same paths or URIs, but no file system shared for the output. A node that
dies loses nothing but time: Ray runs its tasks again elsewhere, also those whose result was lost with it.
"""

import dataclasses
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .card import TokenizerIdentity
from .encoder import Encoder
from .engine import EncoderSpec, OnDone, Progress
from .segments import collect_segment, commit_segment, segment_stem
from .serving import portable
from .tasks import EncodeJob, Task, run_task
from .tokenizer import KnownTokenizer

# For lost nodes and killed workers; what a task itself raises is not tried again.
_RETRIES = 10
# Tasks handed to Ray at a time, for each of its processors: enough that none waits for the driver.
_AHEAD = 3


class _Outcome(NamedTuple):
    """What a task returns: the segment's files by suffix, or what it raised; and the encoder's warning."""

    files: dict[str, bytes]
    error: Exception | None
    warning: str | None


class RayEngine:
    """A Ray cluster as an engine: that of RAY_ADDRESS, else the one running here, else one it starts."""

    def __init__(self, spec: EncoderSpec) -> None:
        try:
            import ray  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise ValueError(
                "--engine ray needs Ray: pip install 'tst-toolkit[ray]', or leave out --engine."
            ) from None
        self._ray, self._spec = ray, spec
        self._started = not ray.is_initialized()
        self._tokenizer: KnownTokenizer | None = None

    def __enter__(self) -> "RayEngine":
        if self._started:
            self._ray.init(logging_level="warning", log_to_driver=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            self._ray.shutdown()

    def load(self) -> KnownTokenizer:
        """See `Engine`."""
        self._tokenizer = self._spec.load().known
        return self._tokenizer

    def run(self, tasks: Sequence[Task], job: EncodeJob, progress: Progress, done: OnDone) -> None:
        """See `Engine`."""
        ray = self._ray
        encode = ray.remote(num_cpus=1, max_retries=_RETRIES)(_encode)
        tokenizer = self._tokenizer
        assert tokenizer is not None
        files = ray.put({name: path.read_bytes() for name, path in tokenizer.files.items()})
        common = ray.put((self._spec, job, tokenizer.identity))
        left = list(reversed(tasks))
        running: dict[Any, Task] = {}
        failed: dict[int, Exception] = {}
        # The error to raise is that of the first task in order that has one: those before it go on.
        while left or any(not failed or task.index < min(failed) for task in running.values()):
            most = _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
            while left and len(running) < most:
                task = left.pop()
                running[encode.remote(task, common, files)] = task
            ready, _ = ray.wait(list(running), num_returns=1)
            for one in ready:
                task, outcome = running.pop(one), ray.get(one)
                if outcome.error is not None:
                    failed[task.index] = outcome.error
                    left.clear()
                    continue
                if outcome.warning is not None:
                    warnings.warn(outcome.warning, stacklevel=2)
                segment = commit_segment(segment_stem(job.work, task.index), outcome.files)
                progress(task.size, segment.num_tokens)
                done(task, segment)
        if failed:
            raise failed[min(failed)]


# The encoder that this worker process of Ray's made last, and of what.
_kept: tuple[Any, Encoder, str | None] | None = None


def _encode(
    task: Task, common: tuple[EncoderSpec, EncodeJob, TokenizerIdentity], tokenizer: dict[str, bytes]
) -> _Outcome:
    """Runs a task on a node."""
    spec, job, identity = common
    try:
        encoder, warning = _encoder(spec, identity, tokenizer)
        with tempfile.TemporaryDirectory() as scratch:
            run_task(task, dataclasses.replace(job, work=Path(scratch)), encoder)
            return _Outcome(collect_segment(segment_stem(Path(scratch), task.index)), None, warning)
    except Exception as error:  # Told to the driver, which raises it in the user's process.
        return _Outcome({}, portable(error), None)


def _encoder(
    spec: EncoderSpec, identity: TokenizerIdentity, tokenizer: dict[str, bytes]
) -> tuple[Encoder, str | None]:
    global _kept
    key = (spec, identity)
    if _kept is None or _kept[0] != key:
        with tempfile.TemporaryDirectory() as folder:
            for name, data in tokenizer.items():
                Path(folder, name).write_bytes(data)
            here = dataclasses.replace(spec, path=folder) if tokenizer else spec
            loaded = here.load()
            if loaded.identity != identity:
                raise ValueError(f"{spec.path} changed while it was in use: run the same command again.")
            _kept = (key, *here.choose(loaded))
    return _kept[1], _kept[2]
