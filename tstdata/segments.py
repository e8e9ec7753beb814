"""Segments: the committed result of one task, and the token stream that all segments make together.

A segment is three files in the work folder: `.tokens` (ids, little-endian), `.documents` (DOCUMENT records)
and, renamed into place last, the marker `.json` with their counts; a fourth, `.rejects`, if there are any. A
task without a marker has not been done.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson

from .commit import commit_bytes, committing
from .packing import PackedBatch

# `source` counts the corpus's files; `place` is a line from 1, a row from 0 or a byte offset.
DOCUMENT = np.dtype([("source", "<u4"), ("place", "<i8"), ("num_tokens", "<u4")])


@dataclass
class LeftOut:
    """What a task left out: rejects, as lines of `rejects.jsonl`, and how many documents were too short."""

    rejects: list[bytes] = field(default_factory=list)
    num_short: int = 0


@dataclass(frozen=True)
class Segment:
    """A committed segment: `stem` is its path without a suffix."""

    stem: Path
    num_documents: int
    num_tokens: int
    num_rejected: int = 0
    num_short: int = 0


def segment_stem(work: Path, task_index: int) -> Path:
    """Returns the path, without suffix, of a task's segment."""
    return work / f"task-{task_index:06}"


def write_segment(
    stem: Path,
    batches: Iterable[tuple[npt.NDArray[np.void], PackedBatch]],
    dtype: str,
    left_out: LeftOut | None = None,
) -> Segment:
    """Writes a segment batch by batch, each of DOCUMENT records and ids, and commits it.

    `left_out` may fill up while the batches are taken.
    """
    left_out = left_out or LeftOut()
    num_documents = num_tokens = 0
    with (
        committing(stem.with_suffix(".tokens")) as tokens,
        committing(stem.with_suffix(".documents")) as documents,
    ):
        for records, batch in batches:
            tokens.write(batch.tokens.astype(np.dtype(dtype).newbyteorder("<"), copy=False).tobytes())
            documents.write(records.tobytes())
            num_documents += len(records)
            num_tokens += len(batch.tokens)
    if left_out.rejects:
        commit_bytes(stem.with_suffix(".rejects"), b"".join(left_out.rejects))
    segment = Segment(stem, num_documents, num_tokens, len(left_out.rejects), left_out.num_short)
    marker = {name: value for name, value in asdict(segment).items() if name != "stem"}
    commit_bytes(stem.with_suffix(".json"), orjson.dumps(marker))
    return segment


def find_segment(stem: Path, dtype: str) -> Segment | None:
    """Returns a task's committed segment, or None when it is not there whole."""
    try:
        marker = orjson.loads(stem.with_suffix(".json").read_bytes())
        segment = Segment(stem, **marker)
        if segment.num_rejected:
            os.stat(stem.with_suffix(".rejects"))
        sizes = [os.path.getsize(stem.with_suffix(suffix)) for suffix in (".tokens", ".documents")]
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
        return None
    wanted = [segment.num_tokens * np.dtype(dtype).itemsize, segment.num_documents * DOCUMENT.itemsize]
    return segment if sizes == wanted else None


class TokenStream:
    """The ids of all segments, one after the other, read from the disk by position; never whole in memory."""

    def __init__(self, segments: Sequence[Segment], dtype: str, head: Sequence[int] = ()) -> None:
        """`head` are ids that come before those of the segments."""
        self._segments = segments
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._head = np.array(head, self._dtype)
        self._starts = len(head) + np.concatenate(
            ([0], np.cumsum([segment.num_tokens for segment in segments], dtype=np.int64))
        )

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, stop: int) -> npt.NDArray[np.unsignedinteger]:
        """Returns the ids at positions start <= i < stop."""
        assert 0 <= start <= stop <= len(self)
        out = np.empty(stop - start, self._dtype)
        from_head = self._head[start:stop]
        out[: len(from_head)] = from_head
        at = start + len(from_head)
        index = max(0, int(np.searchsorted(self._starts, at, side="right")) - 1)
        while at < stop:
            first = int(self._starts[index])
            end = min(stop, int(self._starts[index + 1]))
            if at < end:
                path = self._segments[index].stem.with_suffix(".tokens")
                part = np.fromfile(path, self._dtype, end - at, offset=(at - first) * self._dtype.itemsize)
                out[at - start : end - start] = part
                at = end
            index += 1
        return out


def read_documents_of(segment: Segment) -> npt.NDArray[np.void]:
    """Returns the DOCUMENT records of a segment."""
    return np.fromfile(segment.stem.with_suffix(".documents"), DOCUMENT, segment.num_documents)


def first_documents(segments: Sequence[Segment], limit: int | None) -> list[Segment]:
    """Returns the segments that hold the first `limit` documents of all, the last one shortened to fit."""
    if limit is None:
        return list(segments)
    taken: list[Segment] = []
    left = limit
    for segment in segments:
        if left <= 0:
            break
        if segment.num_documents > left:
            num_tokens = int(read_documents_of(segment)["num_tokens"][:left].sum(dtype=np.int64))
            segment = replace(segment, num_documents=left, num_tokens=num_tokens)
        taken.append(segment)
        left -= segment.num_documents
    return taken
