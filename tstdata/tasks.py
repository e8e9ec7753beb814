"""Tasks: the work of a preparation, cut by the inputs alone; each encodes its documents to one segment."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson

from .documents import Document, Reject, explain, read_documents
from .encoder import Encoder
from .packing import PackedBatch, documents_with, pack, without_documents
from .segments import DOCUMENT, LeftOut, Segment, segment_stem, write_segment
from .selection import Selection
from .source_file import SourceFile

# Small files share a task: one task a file would cost three files of our own for each.
_TASK_BYTES = 4 << 20
# The reference encoder needs some 100 bytes of memory for each byte of text in a batch.
_BATCH_CHARACTERS = 1 << 20
_BATCH_DOCUMENTS = 1024


@dataclass(frozen=True)
class Task:
    """Consecutive files of the corpus: numbers `first_source` and on."""

    index: int
    first_source: int
    files: tuple[SourceFile, ...]


@dataclass(frozen=True)
class EncodeJob:
    """What all tasks of a preparation have in common; `on_error` is "fail" or "skip"."""

    work: Path
    selection: Selection
    on_error: str
    eos_token: str
    eos_id: int
    bos_id: int | None
    dtype: str


def cut_tasks(files: Sequence[SourceFile]) -> list[Task]:
    """Cuts the corpus into tasks of whole files, each of at least _TASK_BYTES but the last."""
    tasks: list[Task] = []
    start = size = 0
    for index, file in enumerate(files):
        size += file.size
        if size >= _TASK_BYTES or index == len(files) - 1:
            tasks.append(Task(len(tasks), start, tuple(files[start : index + 1])))
            start, size = index + 1, 0
    return tasks


def run_task(
    task: Task, job: EncodeJob, encoder: Encoder, on_progress: Callable[[int, int], object] = lambda *_: None
) -> Segment:
    """Encodes the documents of a task and commits its segment.

    Args:
        task: Which files.
        job: How.
        encoder: The engine.
        on_progress: Told of (bytes read, tokens made) since the last time.

    Raises:
        ValueError: A file can't be read, or its text encodes to the end-of-text id; naming file and place.
            With `on_error` "skip" such a document is left out and listed instead.
    """
    left_out = LeftOut()

    def batches() -> Iterator[tuple[npt.NDArray[np.void], PackedBatch]]:
        for source, file in enumerate(task.files, start=task.first_source):
            rejects = _Rejects(file, job.on_error)
            documents = _selected(
                read_documents(file, lambda num_bytes: on_progress(num_bytes, 0)), job, rejects, left_out
            )
            for batch in _in_batches(documents):
                good, packed = _encode(batch, job, encoder, rejects)
                on_progress(0, len(packed.tokens))
                yield _records(source, good, packed), packed
            file.check_unchanged()
            left_out.rejects += rejects.lines()

    return write_segment(segment_stem(job.work, task.index), batches(), job.dtype, left_out)


class _Rejects:
    """The rejects of one file: each is an error, or a line of `rejects.jsonl`."""

    def __init__(self, file: SourceFile, on_error: str) -> None:
        self._file, self._on_error = file, on_error
        self._found: list[Reject] = []

    def add(self, reject: Reject) -> None:
        if self._on_error == "fail":
            raise ValueError(explain(self._file, reject))
        self._found.append(reject)

    def lines(self) -> Iterator[bytes]:
        """Yields the lines by place; the end of a file that could not be read on comes last."""
        for reject in sorted(self._found, key=lambda one: (one.place is None, one.place or 0)):
            yield orjson.dumps({"path": self._file.path, **reject._asdict()}) + b"\n"


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
        batch.append(document)
        characters += len(document.text)
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _encode(
    batch: list[Document], job: EncodeJob, encoder: Encoder, rejects: _Rejects
) -> tuple[list[Document], PackedBatch]:
    """Returns the documents that can be told apart in the dataset, and their ids."""
    ids, lengths = encoder.encode_batch([document.text for document in batch])
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


def _records(source: int, batch: list[Document], packed: PackedBatch) -> npt.NDArray[np.void]:
    records = np.empty(len(batch), DOCUMENT)
    records["source"] = source
    records["place"] = [document.place for document in batch]
    records["num_tokens"] = packed.lengths
    return records
