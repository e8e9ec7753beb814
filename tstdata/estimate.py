"""Estimates: what a preparation will make and take, from a sample of its sources. Nothing is written."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .documents import Document, Reject, Run, read_documents
from .encoder import Encoder, Ids
from .options import PrepareOptions
from .pieces import find_span, next_line
from .segments import DOCUMENT
from .shard_writing import writing_threads
from .shards import ShardLayout, compress_shard
from .source_file import SourceFile
from .tasks import Task, TaskPiece, explain_reject

# Pieces all over the corpus, and about so many bytes at the beginning of each: enough for a few per cent,
# little enough for some seconds with the slowest encoder.
_SAMPLED_PIECES = 64
_SAMPLED_BYTES = 1 << 18
_SAMPLED_IN_ALL = 1 << 22


@dataclass(frozen=True)
class Estimate:
    """Sizes in bytes, time in seconds; of the whole corpus but for `sampled_documents`.

    `work_bytes` are needed besides `stored_bytes` until the dataset is finished: records of all documents,
    and the tokens of a shard for each thread that writes and of one more. `first_reject` is the message of
    the first sampled document that can't be used, None if all can.
    """

    num_documents: int
    num_tokens: int
    num_rows: int
    num_shards: int
    stored_bytes: int
    work_bytes: int
    seconds: float
    sampled_documents: int
    num_rejects: int
    first_reject: str | None


@dataclass
class _Sample:
    """What was seen of a file: `file_bytes` of its `size` gave the rest."""

    size: int
    file_bytes: int = 0
    documents: int = 0
    tokens: int = 0
    seconds: float = 0.0
    rejects: int = 0

    @property
    def factor(self) -> float:
        """How much more the whole file holds; an empty one may be a reject."""
        return self.size / self.file_bytes if self.file_bytes else 1.0


def estimate(
    tasks: Sequence[Task], encoder: Encoder, layout: ShardLayout, options: PrepareOptions
) -> Estimate:
    """Reads and encodes some of the corpus; scales up by bytes: first each file sampled, then all of them.

    Raises:
        ValueError: A file is gone.
        OSError: A file can't be read.
    """
    pieces = [one for task in tasks for one in task.pieces]
    chosen = pieces[:: max(1, -(-len(pieces) // _SAMPLED_PIECES))]
    most = min(_SAMPLED_BYTES, _SAMPLED_IN_ALL // max(1, len(chosen)))
    samples = {one.source: _Sample(one.file.size) for one in chosen}
    first_reject: str | None = None
    bytes_a_token: float | None = None
    for one in chosen:
        sample = samples[one.source]
        start = time.perf_counter()
        texts, reject = _texts(one, most, options, sample)
        ids, _ = encoder.encode_batch(texts)
        sample.seconds += time.perf_counter() - start
        sample.documents += len(texts)
        sample.tokens += len(ids) + len(texts) * (1 + options.bos)
        first_reject = first_reject or reject
        if bytes_a_token is None and len(ids):
            bytes_a_token = _bytes_a_token(ids, layout)
    seen = [sample for sample in samples.values() if sample.file_bytes]
    scale = sum(one.piece.size for one in pieces) / max(1, sum(sample.size for sample in seen))

    def whole(name: str) -> float:
        """Returns how much of something the corpus holds."""
        return scale * sum(getattr(sample, name) * sample.factor for sample in samples.values())

    documents, share = whole("documents"), 1.0
    if options.limit is not None and documents > options.limit:
        share = options.limit / documents
    tokens = round(whole("tokens") * share)
    rows = tokens // layout.seq_len
    return Estimate(
        num_documents=round(documents * share),
        num_tokens=tokens,
        num_rows=rows,
        num_shards=-(-rows // layout.rows_per_shard),
        stored_bytes=round(tokens * (bytes_a_token or 0)),
        work_bytes=_work_bytes(round(documents * share), tokens, layout, options.workers),
        seconds=whole("seconds") * share / options.workers,
        sampled_documents=sum(sample.documents for sample in samples.values()),
        num_rejects=round(whole("rejects") * share),
        first_reject=first_reject,
    )


def _bytes_a_token(ids: Ids, layout: ShardLayout) -> float:
    raw = ids.astype(layout.dtype).tobytes()
    stored = compress_shard(raw, layout.compression) if layout.compression else raw
    return len(stored) / len(ids)


def _work_bytes(documents: int, tokens: int, layout: ShardLayout, workers: int) -> int:
    a_shard = layout.rows_per_shard * layout.seq_len
    held = min(tokens, (writing_threads(workers) + 1) * a_shard)
    return documents * DOCUMENT.itemsize + held * np.dtype(layout.dtype).itemsize


def _texts(
    one: TaskPiece, most: int, options: PrepareOptions, sample: _Sample
) -> tuple[list[str], str | None]:
    """Returns the texts at the beginning of a piece and its first reject; adds to the sample."""
    texts: list[str] = []
    first_reject: str | None = None
    for found in _beginning(one, most, sample):
        if isinstance(found, Reject):
            sample.rejects += 1
            first_reject = first_reject or explain_reject(one, found)
        else:
            taken, _ = options.selection.select(Run.of(*found))
            texts += taken.texts
    return texts, first_reject


@dataclass(frozen=True)
class _Sampled(SourceFile):
    """A file that is read little by little: how far a document has taken its reader is known as exactly."""

    @property
    def read_bytes(self) -> int:
        """See `SourceFile`."""
        return 1 << 13


def _beginning(one: TaskPiece, most: int, sample: _Sample) -> Iterator[Document | Reject]:
    """Yields what is in about the first `most` bytes of a piece, and adds its bytes to the sample."""
    if one.piece.by_lines:
        piece = one.piece.beginning(most)
        yield from read_documents(one.file, span=find_span(one.file, piece))
        # The lines that begin there are sampled whole, however far the last one goes.
        sample.file_bytes += next_line(one.file, piece.stop) - next_line(one.file, piece.start)
        return
    told: list[int] = []
    told_before, before = None, 0
    for found in read_documents(_Sampled(**vars(one.file)), told.append, find_span(one.file, one.piece)):
        # Some readers tell of bytes before what is in them, others after it. Several documents may be in what
        # is told at once, such as a block that is decompressed: all of them are taken.
        told_before, now = bool(told) if told_before is None else told_before, sum(told)
        whole = before if told_before else now
        if whole >= most and now > before:
            sample.file_bytes += whole
            return
        before = now
        yield found
    sample.file_bytes += one.piece.size
