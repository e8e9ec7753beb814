"""Tasks: the work of a preparation, cut by the inputs alone; each encodes its documents to one segment."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .documents import Reject, Run, Runs, explain, read_runs
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
# two files of our own for each.
_TASK_BYTES = 8 << 20
_BATCH_DOCUMENTS = 4096


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
            rejects = _Rejects(one, job.on_error)
            span = find_span(file, one.piece)
            found = _Found(read_runs(file, lambda num_bytes: on_progress(num_bytes, 0), span))
            taken = _selected(found, job, rejects, left_out)
            for batch in _in_batches(taken, encoder.batch_characters):
                places, packed = _encode(batch, one, job, encoder, rejects)
                on_progress(0, len(packed.tokens))
                yield _records(one.source, places, packed), packed
            one.file.check_unchanged()
            left_out.rejects += rejects.records()
            learnt.append(SegmentPiece(source=one.source, num_lines=found.num_lines, blocks=tuple(blocks)))

    stem = segment_stem(job.work, task.index)
    return write_segment(stem, batches(), job.dtype, learnt, encoder.name, left_out)


class _Found:
    """What is read of one piece; keeps the number of lines that reading ends with, 0 if it counts none."""

    def __init__(self, reading: Runs) -> None:
        self._reading = reading
        self.num_lines = 0

    def __iter__(self) -> Iterator[Run | Reject]:
        self.num_lines = (yield from self._reading) or 0


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
    found: Iterable[Run | Reject], job: EncodeJob, rejects: _Rejects, left_out: LeftOut
) -> Iterator[Run]:
    for one in found:
        if isinstance(one, Reject):
            rejects.add(one)
        else:
            taken, num_short = job.selection.select(one)
            left_out.num_short += num_short
            yield taken


def _in_batches(runs: Iterator[Run], most: int) -> Iterator[Run]:
    """Yields documents, of at most so many characters together; a long one has a batch of its own."""
    places: list[int] = []
    texts: list[str] = []
    characters = 0
    for run, more in _bounded(runs, most):
        if texts and (characters + more > most or len(texts) + len(run.texts) > _BATCH_DOCUMENTS):
            yield Run(places, texts)
            places, texts, characters = [], [], 0
        places += run.places
        texts += run.texts
        characters += more
    if texts:
        yield Run(places, texts)


def _bounded(runs: Iterator[Run], most: int) -> Iterator[tuple[Run, int]]:
    """Yields runs that fit into a batch or are one document, and their characters: too many if it is long."""
    for run in runs:
        characters = sum(map(len, run.texts))
        if characters <= most and len(run.texts) <= _BATCH_DOCUMENTS and not any(map(is_long, run.texts)):
            yield run, characters
        else:
            for place, text in run.documents():
                yield Run.of(place, text), most + 1 if is_long(text) else len(text)


def _encode(
    batch: Run, one: TaskPiece, job: EncodeJob, encoder: Encoder, rejects: _Rejects
) -> tuple[Sequence[int], PackedBatch]:
    """Returns the places of the documents that can be told apart in the dataset, and their ids."""
    try:
        ids, lengths = _ids_of(batch.texts, job, encoder)
    except LongDocumentError as error:
        rejects.add(Reject(batch.places[0], str(error)))
        batch, (ids, lengths) = Run((), ()), encoder.encode_batch([])
    except (OSError, MemoryError):
        raise
    except Exception:  # Whatever a tokenizer's library raises on a text that it has no ids for.
        batch = _encodable(batch, job, encoder, rejects)
        ids, lengths = _ids_of(batch.texts, job, encoder)
    differing = check_batch(encoder, batch, ids, lengths, (one.source, one.piece.start))
    if differing is not None:
        reason = (
            f"{encoder.name} gives other ids than the reference encoder. Run the same command with --encoder "
            "reference, which makes again what the fast one made; its authors will want this document."
        )
        raise ValueError(explain_reject(one, Reject(batch.places[differing], reason)))
    places = batch.places
    hits = documents_with(job.eos_id, ids, lengths)
    for hit in hits.tolist():
        reason = (
            f"the text itself encodes to the end-of-text id {job.eos_id} ({job.eos_token!r}), so document "
            "ends would be ambiguous. Name a token that text can't give with --eos-token."
        )
        rejects.add(Reject(places[hit], reason))
    if len(hits):
        places = np.delete(np.asarray(places), hits).tolist()
        ids, lengths = without_documents(hits, ids, lengths)
    return places, pack(ids, lengths, job.eos_id, job.bos_id, job.dtype)


def _encodable(batch: Run, job: EncodeJob, encoder: Encoder, rejects: _Rejects) -> Run:
    """Returns the documents that have ids; the others are rejected."""
    places: list[int] = []
    texts: list[str] = []
    for place, text in batch.documents():
        try:
            _ids_of([text], job, encoder)
        except Exception as error:
            reason = f"{encoder.name} has no ids for it ({type(error).__name__}: {error}). Leave it out."
            rejects.add(Reject(place, reason))
        else:
            places.append(place)
            texts.append(text)
    return Run(places, texts)


def _ids_of(texts: Sequence[str], job: EncodeJob, encoder: Encoder) -> tuple[Ids, Lengths]:
    if encoder.name == ADOPTED or not texts or not is_long(texts[0]):
        return encoder.encode_batch(texts)
    ids = encode_long(texts[0], encoder, job.most_whole)
    return ids, np.array([len(ids)], np.int64)


def _records(source: int, places: Sequence[int], packed: PackedBatch) -> npt.NDArray[np.void]:
    records = np.empty(len(places), DOCUMENT)
    records["source"] = source
    records["place"] = places
    records["num_tokens"] = packed.lengths
    return records
