"""Tasks: the work of a preparation, cut by the inputs alone; each encodes its documents to one segment."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .documents import Document, Reject, explain, read_documents
from .encoder import ADOPTED, Encoder, Ids, Lengths
from .fingerprints import hash_blocks
from .long_documents import LongDocumentError, encode_long, is_long
from .packing import PackedBatch, documents_with, pack, without_documents
from .pieces import Piece, count_lines_before, cut_file, find_span
from .preloading import preload
from .segments import DOCUMENT, LeftOut, Segment, SegmentPiece, segment_stem, write_segment
from .selection import Selection
from .source_file import SourceFile
from .spot_check import check_batch

# Large files are cut into pieces of so many bytes, and small ones share a task: one task a file would cost
# three files of our own for each.
_TASK_BYTES = 8 << 20
# The reference encoder needs some 100 bytes of memory for each byte of text in a batch.
_BATCH_CHARACTERS = 1 << 20
_SAMPLE_BYTES = 1 << 20
_BATCH_DOCUMENTS = 1024


@dataclass(frozen=True)
class TaskPiece:
    """A piece of the file that is number `source` of the corpus."""

    source: int
    file: SourceFile
    piece: Piece


@dataclass(frozen=True)
class Task:
    """Consecutive pieces of the corpus."""

    index: int
    pieces: tuple[TaskPiece, ...]

    @property
    def size(self) -> int:
        """Bytes of the corpus."""
        return sum(one.piece.size for one in self.pieces)


@dataclass(frozen=True)
class EncodeJob:
    """What all tasks of a preparation have in common; `most_whole` is in characters: see `encode_long`."""

    work: Path
    selection: Selection
    on_error: str
    most_whole: int
    eos_token: str
    eos_id: int
    bos_id: int | None
    dtype: str


def cut_tasks(files: Sequence[SourceFile]) -> list[Task]:
    """Cuts the corpus into tasks of pieces of files, each task of at least _TASK_BYTES but the last."""
    tasks: list[Task] = []
    held: list[TaskPiece] = []
    size = 0
    for source, file in enumerate(files):
        for piece in cut_file(file, _TASK_BYTES):
            held.append(TaskPiece(source, file, piece))
            size += piece.size
            if size >= _TASK_BYTES or piece.groups is not None:
                tasks.append(Task(len(tasks), tuple(held)))
                held, size = [], 0
    return [*tasks, Task(len(tasks), tuple(held))] if held else tasks


def run_task(
    task: Task, job: EncodeJob, encoder: Encoder, on_progress: Callable[[int, int], object] = lambda *_: None
) -> Segment:
    """Encodes the documents of a task and commits its segment.

    Args:
        task: Which pieces of which files.
        job: How.
        encoder: The engine.
        on_progress: Told of (bytes read, tokens made) since the last time.

    Raises:
        ValueError: A file can't be read, or its text encodes to the end-of-text id; naming file and place.
            With `on_error` "skip" such a document is left out and listed instead. Or, in any case, the
            encoder does not agree with the reference.
    """
    left_out = LeftOut()
    learnt: list[SegmentPiece] = []

    def batches() -> Iterator[tuple[npt.NDArray[np.void], PackedBatch]]:
        for one in task.pieces:
            file = preload(one.file, one.piece)
            # Before the text is read, which then finds the bytes in memory.
            blocks = hash_blocks(file, one.piece)
            span, num_lines = find_span(file, one.piece)
            rejects = _Rejects(one, job.on_error)
            documents = read_documents(file, lambda num_bytes: on_progress(num_bytes, 0), span)
            for batch in _in_batches(_selected(documents, job, rejects, left_out)):
                good, packed = _encode(batch, one, job, encoder, rejects)
                on_progress(0, len(packed.tokens))
                yield _records(one.source, good, packed), packed
            one.file.check_unchanged()
            left_out.rejects += rejects.records()
            learnt.append(SegmentPiece(source=one.source, num_lines=num_lines, blocks=tuple(blocks)))

    stem = segment_stem(job.work, task.index)
    return write_segment(stem, batches(), job.dtype, learnt, encoder.name, left_out)


def sample_texts(tasks: Sequence[Task], num_tasks: int, characters: int) -> list[str]:
    """Returns the beginnings of the first documents of tasks all over the corpus.

    What can't be read is left to its task to tell.
    """
    texts: list[str] = []
    for task in tasks[:: max(1, len(tasks) // num_tasks)][:num_tasks]:
        one = task.pieces[0]
        try:
            span, _ = find_span(one.file, one.piece.beginning(_SAMPLE_BYTES))
            first = itertools.islice(read_documents(one.file, span=span), 2)
            texts += [found.text[:characters] for found in first if isinstance(found, Document)]
        except (ValueError, OSError):
            continue
    return texts


class _Rejects:
    """The rejects of one piece: each is an error, or a line of `rejects.jsonl`."""

    def __init__(self, one: TaskPiece, on_error: str) -> None:
        self._one, self._on_error = one, on_error
        self._found: list[Reject] = []

    def add(self, reject: Reject) -> None:
        if self._on_error == "fail":
            raise ValueError(explain_reject(self._one, reject))
        self._found.append(reject)

    def records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields them by place; the end of a file that could not be read on comes last."""
        for reject in sorted(self._found, key=lambda one: (one.place is None, one.place or 0)):
            yield self._one.source, {"path": self._one.file.path, **reject._asdict()}


def explain_reject(one: TaskPiece, reject: Reject) -> str:
    """Returns the message of a reject; its place, told from the piece's beginning, counts from the file's."""
    if reject.place is not None:
        reject = reject._replace(place=reject.place + count_lines_before(one.file, one.piece))
    return explain(one.file, reject)


def _selected(
    found: Iterator[Document | Reject], job: EncodeJob, rejects: _Rejects, left_out: LeftOut
) -> Iterator[Document]:
    for one in found:
        if isinstance(one, Reject):
            rejects.add(one)
        elif not job.selection.is_of_part(one.text):
            continue
        elif not job.selection.is_long_enough(one.text):
            left_out.num_short += 1
        else:
            yield one


def _in_batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    characters = 0
    for document in documents:
        if is_long(document.text):  # It has a batch of its own.
            if batch:
                yield batch
            yield [document]
            batch, characters = [], 0
            continue
        batch.append(document)
        characters += len(document.text)
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _encode(
    batch: list[Document], one: TaskPiece, job: EncodeJob, encoder: Encoder, rejects: _Rejects
) -> tuple[list[Document], PackedBatch]:
    """Returns the documents that can be told apart in the dataset, and their ids."""
    texts = [document.text for document in batch]
    try:
        ids, lengths = _ids_of(texts, job, encoder)
    except LongDocumentError as error:
        rejects.add(Reject(batch[0].place, str(error)))
        batch, texts, (ids, lengths) = [], [], encoder.encode_batch([])
    key = (one.source, one.piece.start)
    differing = check_batch(encoder, texts, ids, lengths, key, [document.place for document in batch])
    if differing is not None:
        reason = (
            f"{encoder.name} gives other ids than the reference encoder. Run the same command with --encoder "
            "reference, which makes again what the fast one made; its authors will want this document."
        )
        raise ValueError(explain_reject(one, Reject(batch[differing].place, reason)))
    hits = documents_with(job.eos_id, ids, lengths)
    for hit in hits:
        reason = (
            f"the text itself encodes to the end-of-text id {job.eos_id} ({job.eos_token!r}), so document "
            "ends would be ambiguous. Name a token that text can't give with --eos-token."
        )
        rejects.add(Reject(batch[hit].place, reason))
    if len(hits):
        dropped = set(hits.tolist())
        batch = [document for number, document in enumerate(batch) if number not in dropped]
        ids, lengths = without_documents(hits, ids, lengths)
    return batch, pack(ids, lengths, job.eos_id, job.bos_id, job.dtype)


def _ids_of(texts: list[str], job: EncodeJob, encoder: Encoder) -> tuple[Ids, Lengths]:
    if encoder.name == ADOPTED or not is_long(texts[0]):
        return encoder.encode_batch(texts)
    ids = encode_long(texts[0], encoder, job.most_whole)
    return ids, np.array([len(ids)], np.int64)


def _records(source: int, batch: list[Document], packed: PackedBatch) -> npt.NDArray[np.void]:
    records = np.empty(len(batch), DOCUMENT)
    records["source"] = source
    records["place"] = [document.place for document in batch]
    records["num_tokens"] = packed.lengths
    return records
