"""Tasks: the work of a preparation, cut by the inputs alone; each encodes its documents to one segment."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .documents import Document, place_name, read_documents
from .encoder import Encoder
from .packing import PackedBatch, find_document_with, pack
from .segments import DOCUMENT, Segment, segment_stem, write_segment
from .sources import SourceFile

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
    """What all tasks of a preparation have in common."""

    work: Path
    text_key: str
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
    """

    def batches() -> Iterator[tuple[npt.NDArray[np.void], PackedBatch]]:
        for source, file in enumerate(task.files, start=task.first_source):
            documents = read_documents(file, job.text_key, lambda num_bytes: on_progress(num_bytes, 0))
            for batch in _in_batches(documents):
                packed = _encode(batch, file, job, encoder)
                on_progress(0, len(packed.tokens))
                yield _records(source, batch, packed), packed
            file.check_unchanged()

    return write_segment(segment_stem(job.work, task.index), batches(), job.dtype)


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


def _encode(batch: list[Document], file: SourceFile, job: EncodeJob, encoder: Encoder) -> PackedBatch:
    ids, lengths = encoder.encode_batch([document.text for document in batch])
    hit = find_document_with(job.eos_id, ids, lengths)
    if hit is not None:
        raise ValueError(
            f"{file.path} {place_name(file.format)} {batch[hit].place}: the text itself encodes to the "
            f"end-of-text id {job.eos_id} ({job.eos_token!r}), so document ends would be ambiguous. Name "
            "a token that text can't give with --eos-token."
        )
    return pack(ids, lengths, job.eos_id, job.bos_id, job.dtype)


def _records(source: int, batch: list[Document], packed: PackedBatch) -> npt.NDArray[np.void]:
    records = np.empty(len(batch), DOCUMENT)
    records["source"] = source
    records["place"] = [document.place for document in batch]
    records["num_tokens"] = packed.lengths
    return records
