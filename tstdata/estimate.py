"""Estimates: what a preparation will make and take, from a sample of its sources. Nothing is written."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .documents import Reject, explain, read_documents
from .encoder import Encoder
from .options import PrepareOptions
from .segments import DOCUMENT
from .shard_writing import writing_threads
from .shards import ShardLayout, compress_shard
from .source_file import SourceFile

# Enough for a few per cent, little enough for some seconds with the slowest encoder.
_SAMPLED_FILES = 16
_SAMPLED_BYTES = 1 << 18


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
    """What was seen of the sampled files: `file_bytes` of them gave `documents` and `tokens`."""

    file_bytes: int = 0
    documents: int = 0
    tokens: int = 0
    seconds: float = 0.0
    rejects: int = 0
    first_reject: str | None = None


def estimate(
    files: Sequence[SourceFile], encoder: Encoder, layout: ShardLayout, options: PrepareOptions
) -> Estimate:
    """Reads and encodes some of the corpus, and scales up by the bytes of the files.

    Raises:
        ValueError: A file is gone.
        OSError: A file can't be read.
    """
    sample = _Sample()
    stored_a_token = np.dtype(layout.dtype).itemsize * 1.0
    step = max(1, len(files) // _SAMPLED_FILES)
    for number, file in enumerate(files[::step][:_SAMPLED_FILES]):
        texts = _texts(file, options, sample)
        start = time.perf_counter()
        ids, _ = encoder.encode_batch(texts)
        sample.seconds += time.perf_counter() - start
        sample.tokens += len(ids) + len(texts) * (1 + options.bos)
        sample.documents += len(texts)
        if number == 0 and layout.compression and len(ids):
            raw = ids.astype(layout.dtype).tobytes()
            stored_a_token *= len(compress_shard(raw, layout.compression)) / len(raw)
    return _scaled(files, sample, layout, options, stored_a_token)


def _scaled(
    files: Sequence[SourceFile],
    sample: _Sample,
    layout: ShardLayout,
    options: PrepareOptions,
    stored_a_token: float,
) -> Estimate:
    scale = sum(file.size for file in files) / max(1, sample.file_bytes)
    documents = round(sample.documents * scale)
    if options.limit is not None and documents > options.limit:
        scale *= options.limit / documents
        documents = options.limit
    tokens = round(sample.tokens * scale)
    rows = tokens // layout.seq_len
    return Estimate(
        num_documents=documents,
        num_tokens=tokens,
        num_rows=rows,
        num_shards=-(-rows // layout.rows_per_shard),
        stored_bytes=round(tokens * stored_a_token),
        work_bytes=_work_bytes(documents, tokens, layout, options.workers),
        seconds=sample.seconds * scale / options.workers,
        sampled_documents=sample.documents,
        num_rejects=round(sample.rejects * scale),
        first_reject=sample.first_reject,
    )


def _work_bytes(documents: int, tokens: int, layout: ShardLayout, workers: int) -> int:
    a_shard = layout.rows_per_shard * layout.seq_len
    held = min(tokens, (writing_threads(workers) + 1) * a_shard)
    return documents * DOCUMENT.itemsize + held * np.dtype(layout.dtype).itemsize


def _texts(file: SourceFile, options: PrepareOptions, sample: _Sample) -> list[str]:
    """Returns the texts of the beginning of a file, and adds what was read to the sample."""
    reports: list[int] = []
    texts: list[str] = []
    start = time.perf_counter()
    used = file.size
    for one in read_documents(file, reports.append):
        if isinstance(one, Reject):
            sample.rejects += 1
            sample.first_reject = sample.first_reject or explain(file, one)
        elif options.selection.is_of_part(one.text) and options.selection.is_long_enough(one.text):
            texts.append(one.text)
        if sum(reports) >= _SAMPLED_BYTES and sum(reports) < file.size:
            # Somewhere in the last piece read: half of it is the best guess.
            used = sum(reports) - reports[-1] // 2
            break
    sample.seconds += time.perf_counter() - start
    sample.file_bytes += used
    return texts
