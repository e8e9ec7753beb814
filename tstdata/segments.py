"""Segments: the committed result of one task, and the token stream that all segments make together.

A segment is two files in the work folder: `.tokens` (ids, little-endian) and, renamed into place last,
`.done`: a line that is the marker, a line for each reject, then DOCUMENT records. A task without it has not
been done. The marker holds hashes of all else instead of waiting for the disk to have it: a segment that a
power cut damaged is made again. Once the shards hold all ids of a segment, its `.tokens` go.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import xxhash
from pydantic import BaseModel, ConfigDict, ValidationError

from .commit import commit_bytes, committing, make_spare, view_bytes
from .joined import FilePart, Joined
from .packing import PackedBatch

# `source` counts the corpus's files; `place` is a line, from 1 in the piece; a row from 0, or a byte offset.
DOCUMENT = np.dtype([("source", "<u4"), ("place", "<i8"), ("num_tokens", "<u4")])
_TOKENS, _DONE = ".tokens", ".done"


@dataclass
class LeftOut:
    """What a task left out: rejects, as source and record each, and how many documents were too short."""

    rejects: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    num_short: int = 0


class SegmentPiece(BaseModel):
    """What a task learnt of one piece of a file: the lines that start in it, and its blocks' hashes."""

    model_config = ConfigDict(extra="forbid")

    source: int
    num_lines: int
    blocks: tuple[str, ...]


class Marker(BaseModel):
    """What a segment is; `hashes` are of `.tokens` and of what follows the marker in `.done`."""

    model_config = ConfigDict(extra="forbid")

    num_documents: int
    num_tokens: int
    num_rejected: int
    num_short: int
    pieces: tuple[SegmentPiece, ...]
    encoder: str
    hashes: tuple[str, str]


class Segment:
    """A committed segment, or its first documents: `stem` is its path without a suffix."""

    def __init__(self, stem: Path, marker: Marker) -> None:
        self.stem = stem
        self.marker = marker
        self.num_documents = marker.num_documents
        self.num_tokens = marker.num_tokens

    def documents(self) -> npt.NDArray[np.void]:
        """Returns the DOCUMENT records."""
        with open(self.stem.with_suffix(_DONE), "rb") as file:
            for _ in range(1 + self.marker.num_rejected):
                file.readline()
            return np.fromfile(file, DOCUMENT, self.num_documents)

    def has_tokens(self) -> bool:
        """Tells whether the ids are there, and whole."""
        tokens = self.stem.with_suffix(_TOKENS)
        return tokens.is_file() and _hash_file(tokens) == self.marker.hashes[0]

    def drop_tokens(self) -> None:
        """Gives up the ids: those of another segment are written over them."""
        make_spare(self.stem.with_suffix(_TOKENS))

    def rejects(self) -> list[tuple[int, dict[str, Any]]]:
        """Returns source numbers and records of what was left out; a place by lines counts from its piece."""
        if not self.marker.num_rejected:
            return []
        with open(self.stem.with_suffix(_DONE), "rb") as file:
            return [orjson.loads(line) for line in islice(file, 1, 1 + self.marker.num_rejected)]

    def first(self, num_documents: int) -> "Segment":
        """Returns the segment shortened to its first documents."""
        shorter = Segment(self.stem, self.marker)
        shorter.num_documents = min(num_documents, self.num_documents)
        shorter.num_tokens = int(self.documents()["num_tokens"][:num_documents].sum(dtype=np.int64))
        return shorter


def segment_stem(work: Path, task_index: int) -> Path:
    """Returns the path, without suffix, of a task's segment."""
    return work / f"task-{task_index:06}"


def write_segment(
    stem: Path,
    batches: Iterable[tuple[npt.NDArray[np.void], PackedBatch]],
    dtype: str,
    pieces: Sequence[SegmentPiece],
    encoder: str,
    left_out: LeftOut,
) -> Segment:
    """Writes a segment batch by batch, each of DOCUMENT records and ids, and commits it.

    `pieces` and `left_out` may fill up while the batches are taken.
    """
    num_documents = num_tokens = 0
    little = np.dtype(dtype).newbyteorder("<")
    tokens_hash, rest_hash = xxhash.xxh3_128(), xxhash.xxh3_128()
    documents = bytearray()
    with committing(stem.with_suffix(_TOKENS), durable=False, over_spare=True) as file:
        for records, batch in batches:
            tokens = view_bytes(batch.tokens.astype(little, copy=False))
            file.write(tokens)
            tokens_hash.update(tokens)
            documents += view_bytes(records)
            num_documents += len(records)
            num_tokens += len(batch.tokens)
    rejects = b"".join(orjson.dumps(record) + b"\n" for record in left_out.rejects)
    rest_hash.update(rejects)
    rest_hash.update(documents)
    marker = Marker(
        num_documents=num_documents,
        num_tokens=num_tokens,
        num_rejected=len(left_out.rejects),
        num_short=left_out.num_short,
        pieces=tuple(pieces),
        encoder=encoder,
        hashes=(tokens_hash.hexdigest(), rest_hash.hexdigest()),
    )
    with committing(stem.with_suffix(_DONE), durable=False) as file:
        file.writelines([marker.model_dump_json().encode(), b"\n", rejects, documents])
    return Segment(stem, marker)


def load_segment(stem: Path) -> Segment:
    """Returns a segment that this very run committed."""
    with open(stem.with_suffix(_DONE), "rb") as file:
        return Segment(stem, Marker.model_validate_json(file.readline()))


def collect_segment(stem: Path) -> dict[str, bytes]:
    """Returns the files of a segment by their suffixes; `commit_segment` takes them elsewhere."""
    return {suffix: stem.with_suffix(suffix).read_bytes() for suffix in (_TOKENS, _DONE)}


def commit_segment(stem: Path, files: dict[str, bytes]) -> Segment:
    """Commits a segment made elsewhere."""
    commit_bytes(stem.with_suffix(_TOKENS), files[_TOKENS], durable=False, over_spare=True)
    commit_bytes(stem.with_suffix(_DONE), files[_DONE], durable=False)
    return load_segment(stem)


def find_segment(stem: Path) -> Segment | None:
    """Returns a segment that an earlier run committed, or None when it is not there whole.

    Its tokens are another matter: see `has_tokens`.
    """
    try:
        segment = load_segment(stem)
        with open(stem.with_suffix(_DONE), "rb") as file:
            file.readline()
            rest = file.read()
    except (FileNotFoundError, ValidationError):
        return None
    return segment if xxhash.xxh3_128(rest).hexdigest() == segment.marker.hashes[1] else None


def _hash_file(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


class TokenStream:
    """The ids of consecutive segments, read from the disk by position; never whole in memory."""

    def __init__(self, dtype: str, head: Sequence[int] = ()) -> None:
        """`head` are ids that come before those of the segments."""
        self._segments: list[Segment] = []
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._head = np.array(head, self._dtype)
        self._starts = [len(head)]
        self._dropped = 0

    def __len__(self) -> int:
        return self._starts[-1]

    def append(self, segment: Segment) -> None:
        """Lengthens the stream."""
        self._segments.append(segment)
        self._starts.append(self._starts[-1] + segment.num_tokens)

    def drop(self, position: int) -> None:
        """Removes the tokens of all segments that lie before a position: nobody will read there again."""
        while self._dropped < len(self._segments) and self._starts[self._dropped + 1] <= position:
            self._segments[self._dropped].drop_tokens()
            self._dropped += 1

    def reader(self, start: int, stop: int) -> Joined:
        """Returns a reader of the bytes of the ids at positions start <= i < stop, as the files hold them."""
        assert 0 <= start <= stop <= len(self)
        return Joined(self._parts(start, stop))

    def _parts(self, start: int, stop: int) -> Iterator[BytesIO | FilePart]:
        yield BytesIO(view_bytes(self._head[start:stop]))
        at = max(start, len(self._head))
        index, width = bisect_right(self._starts, at) - 1, self._dtype.itemsize
        while at < stop:  # No further: what comes then may just be taken in by another thread.
            first, end = self._starts[index], min(stop, self._starts[index + 1])
            if at < end:
                # Read, not mapped: a mapped page costs a fault to hash and another one to write.
                tokens = self._segments[index].stem.with_suffix(_TOKENS)
                yield FilePart(tokens, (at - first) * width, (end - at) * width)
                at = end
            index += 1

    def read(self, start: int, stop: int) -> npt.NDArray[np.unsignedinteger]:
        """Returns the ids at positions start <= i < stop."""
        return np.frombuffer(self.reader(start, stop).readall(), self._dtype)
