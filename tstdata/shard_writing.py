"""Writing shards while the corpus is still being encoded: each as soon as all its rows are there.

What a shard holds is not kept twice: when it and those before it are on the disk, beside an entry of each,
the tokens of their segments go. A run that resumes keeps such shards, and needs the tokens of later ones.
"""

import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from .commit import commit_bytes, file_xxh64
from .options import PrepareOptions
from .segments import Segment, TokenStream
from .shards import ShardLayout, shard_names, write_shard_bytes
from .tasks import Task

# More would not write faster, and each holds a shard in memory.
_MOST_THREADS = 4


def writing_threads(workers: int) -> int:
    """Returns how many threads write shards beside so many workers."""
    return min(workers, _MOST_THREADS)


class ShardWriter:
    """Turns segments, told of in any order, into shards.

    Shards are written to `aside` and moved to `out` by `finish`: an unfinished dataset shows none. With a
    limit they hold only so many documents, the first ones. What an earlier run left comes first: `resume`.
    """

    def __init__(
        self,
        out: Path,
        aside: Path,
        layout: ShardLayout,
        options: PrepareOptions,
        head: Sequence[int] = (),
        first_shard: int = 0,
    ) -> None:
        """`head` are ids that come before those of the segments; shards are numbered from `first_shard`."""
        self.stream = TokenStream(layout.dtype, head)
        self.segments: list[Segment] = []
        self._out, self._aside, self._layout, self._first_shard = out, aside, layout, first_shard
        self._left = options.limit
        self._early: dict[int, Segment] = {}
        self._next = 0
        self._lock = threading.Lock()
        # Threads: reading, hashing, compressing and writing all let go of the interpreter.
        self._threads = ThreadPoolExecutor(writing_threads(options.workers))
        self._shards: list[Future[dict[str, Any]]] = []
        self._committed: set[int] = set()
        self._num_whole = 0

    def __enter__(self) -> "ShardWriter":
        self._aside.mkdir(exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=kind is not None)

    def resume(self, found: Sequence[tuple[Task, Segment | None]]) -> list[Task]:
        """Takes what an earlier run left: of all tasks, in order, the segment that was found, if any.

        Returns:
            The tasks still to run: without a segment, or of one whose tokens are gone but in no shard either.
        """
        ends = list(self._ends(segment for _, segment in found))
        kept = list(self._find_kept(max(ends, default=0) // self._a_shard))
        in_shards = len(kept) * self._a_shard
        # A shard of tasks that are run again is written again: another encoder may run them.
        for entry in set(self._aside.glob("*.json")) - set(map(self._entry_file, range(len(kept)))):
            entry.unlink()
        self._shards = [_done(entry) for entry in kept]
        self._committed = set(range(len(kept)))
        missing = []
        ends += [in_shards + 1] * (len(found) - len(ends))
        for (task, segment), end in zip(found, ends, strict=True):
            if segment is not None and (end <= in_shards or segment.has_tokens()):
                self.add(task, segment)
            else:
                missing.append(task)
        return missing

    def _ends(self, segments: Iterable[Segment | None]) -> Iterator[int]:
        """Yields where segments end in the stream without a limit, up to the first that is missing."""
        end = len(self.stream)
        for segment in segments:
            if segment is None:
                return
            end += segment.num_tokens
            yield end

    def add(self, task: Task, segment: Segment) -> None:
        """Takes a segment; writes the shards that are full now.

        Raises:
            OSError: An earlier shard could not be written.
        """
        with self._lock:
            self._early[task.index] = segment
            while (following := self._early.pop(self._next, None)) is not None:
                self._next += 1
                self._take(following)
            for written in self._shards:
                if written.done():
                    written.result()
            while len(self.stream) >= (len(self._shards) + 1) * self._a_shard:
                self._write(self._layout.rows_per_shard)

    @property
    def is_enough(self) -> bool:
        """Whether all documents of the limit are there."""
        return self._left is not None and self._left <= 0

    def _take(self, segment: Segment) -> None:
        """Lengthens the stream, up to the limit."""
        if self.is_enough:
            return
        if self._left is not None:
            segment = segment.first(self._left)
            self._left -= segment.num_documents
        self.segments.append(segment)
        self.stream.append(segment)

    def finish(self) -> list[dict[str, Any]]:
        """Writes the last shard and moves all into place; returns their entries of `index.json`."""
        rows = len(self.stream) // self._layout.seq_len - len(self._shards) * self._layout.rows_per_shard
        if rows:
            self._write(rows)
        entries = [shard.result() for shard in self._shards]
        for index in range(len(entries)):
            if (written := self._aside / self._name(index)).exists():  # Else an earlier run has moved it.
                os.replace(written, self._out / written.name)
        return entries

    @property
    def _a_shard(self) -> int:
        """Tokens of every shard but the last."""
        return self._layout.rows_per_shard * self._layout.seq_len

    def _name(self, index: int) -> str:
        raw, compressed = shard_names(self._first_shard + index, self._layout.compression)
        return compressed or raw

    def _entry_file(self, index: int) -> Path:
        return self._aside / f"{self._name(index)}.json"

    def _find_kept(self, most: int) -> Iterator[dict[str, Any]]:
        """Yields the entries of full shards of an earlier run, up to one that is not whole."""
        for index in range(most):
            try:
                entry = json.loads(self._entry_file(index).read_bytes())
                found = [folder / self._name(index) for folder in (self._aside, self._out)]
                digest = file_xxh64(next(path for path in found if path.is_file()))
            except (FileNotFoundError, ValueError, StopIteration):
                return
            if (entry["zip_data"] or entry["raw_data"])["hashes"]["xxh64"] != digest:
                return
            yield entry

    def _write(self, num_rows: int) -> None:
        index = len(self._shards)
        start = index * self._a_shard

        def write() -> dict[str, Any]:
            rows = self.stream.reader(start, start + num_rows * self._layout.seq_len)
            number = self._first_shard + index
            entry = write_shard_bytes(self._aside, number, rows, num_rows, self._layout)
            if num_rows == self._layout.rows_per_shard:
                self._commit(index, entry)
            return entry

        self._shards.append(self._threads.submit(write))

    def _commit(self, index: int, entry: dict[str, Any]) -> None:
        """Commits the entry of a full shard, and drops the tokens that only whole shards have held so far."""
        commit_bytes(self._entry_file(index), json.dumps(entry).encode())
        with self._lock:
            self._committed.add(index)
            while self._num_whole in self._committed:
                self._num_whole += 1
            self.stream.drop(self._num_whole * self._a_shard)


def _done(entry: dict[str, Any]) -> Future[dict[str, Any]]:
    done: Future[dict[str, Any]] = Future()
    done.set_result(entry)
    return done
