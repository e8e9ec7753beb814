"""Writing shards while the corpus is still being encoded: each as soon as all its rows are there."""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from .options import PrepareOptions
from .segments import Segment, TokenStream
from .shards import ShardLayout, shard_names, write_shard_bytes
from .tasks import Task

# More would not write faster, and each holds a shard in memory.
_MOST_THREADS = 4


class ShardWriter:
    """Turns segments, told of in any order, into shards.

    Shards are written to `aside` and moved to `out` by `finish`: an unfinished dataset shows none. With a
    limit they hold only so many documents, the first ones.
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
        self._threads = ThreadPoolExecutor(min(options.workers, _MOST_THREADS))
        self._shards: list[Future[dict[str, Any]]] = []

    def __enter__(self) -> "ShardWriter":
        self._aside.mkdir(exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=kind is not None)

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
            a_shard = self._layout.rows_per_shard * self._layout.seq_len
            while len(self.stream) >= (len(self._shards) + 1) * a_shard:
                self._write(self._layout.rows_per_shard)

    @property
    def is_enough(self) -> bool:
        """Whether all documents of the limit are there."""
        return self._left is not None and self._left <= 0

    def _take(self, segment: Segment) -> None:
        """Lengthens the stream, up to the limit."""
        if self._left is not None:
            if self._left <= 0:
                return
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
        for index in range(self._first_shard, self._first_shard + len(entries)):
            raw, compressed = shard_names(index, self._layout.compression)
            os.replace(self._aside / (compressed or raw), self._out / (compressed or raw))
        return entries

    def _write(self, num_rows: int) -> None:
        index = len(self._shards)
        start = index * self._layout.rows_per_shard * self._layout.seq_len

        def write() -> dict[str, Any]:
            rows = self.stream.pieces(start, start + num_rows * self._layout.seq_len)
            return write_shard_bytes(self._aside, self._first_shard + index, rows, num_rows, self._layout)

        self._shards.append(self._threads.submit(write))
