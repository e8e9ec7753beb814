"""Merging: from committed segments to the finished files of a dataset."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from .commit import committing, file_sha256
from .fingerprints import fingerprint, join_blocks, num_blocks
from .segments import DOCUMENT, Segment
from .source_file import SourceFile
from .tokenizer import KnownTokenizer

DOCUMENTS_DIR = "documents"
TOKENIZER_DIR = "tokenizer"
DOCUMENTS_SCHEMA = pa.schema(
    [
        ("source", pa.int32()),
        ("path", pa.string()),
        ("place", pa.int64()),
        ("first_token", pa.int64()),
        ("num_tokens", pa.int64()),
    ]
)
_DOCUMENTS_A_FILE = 1 << 20
_ROWS_A_GROUP = 1 << 16
# No two documents begin at one token: a dictionary of such numbers is larger than they are.
_DOCUMENTS_FORMAT: dict[str, Any] = {
    "compression": "zstd",
    "row_group_size": _ROWS_A_GROUP,
    "use_dictionary": ["source", "path"],
    "column_encoding": dict.fromkeys(["place", "first_token", "num_tokens"], "DELTA_BINARY_PACKED"),
}


@dataclass(frozen=True)
class Numbering:
    """Where the documents of a preparation begin in the dataset: all 0 but for an append."""

    file: int = 0
    source: int = 0
    token: int = 0


def write_documents(
    out: Path, segments: Sequence[Segment], paths: Sequence[str], first: Numbering = Numbering()
) -> list[str]:
    """Writes `documents/*.parquet`, one row a document in the order of the stream; returns the files' names.

    `paths` are those of the files that the segments' source numbers count.
    """
    folder = out / DOCUMENTS_DIR
    folder.mkdir(exist_ok=True)
    names: list[str] = []
    first_token = first.token
    for records in _by_file(_placed(segments, len(paths))):
        names.append(f"{DOCUMENTS_DIR}/documents.{first.file + len(names):05}.parquet")
        table = _documents_table(records, pa.array(paths, pa.string()), first_token, first.source)
        with committing(out / names[-1]) as file:
            pq.write_table(table, file, **_DOCUMENTS_FORMAT)
        first_token += int(records["num_tokens"].sum(dtype=np.int64))
    return names


def _placed(segments: Sequence[Segment], num_sources: int) -> Iterator[npt.NDArray[np.void]]:
    """Yields each segment's records, their places counted from the beginning of their source."""
    # Of each source, those of its pieces so far: a segment counts from its piece's.
    lines = [0] * num_sources
    for segment in segments:
        records = segment.documents()
        for piece in segment.marker.pieces:
            records["place"][records["source"] == piece.source] += lines[piece.source]
            lines[piece.source] += piece.num_lines
        yield records


def _by_file(found: Iterator[npt.NDArray[np.void]]) -> Iterator[npt.NDArray[np.void]]:
    """Yields the same records, one file's at a time; an empty file's if there are none."""
    waiting, num_waiting = [np.empty(0, DOCUMENT)], 0
    is_first = True
    for records in found:
        waiting.append(records)
        num_waiting += len(records)
        if num_waiting >= _DOCUMENTS_A_FILE:
            whole = np.concatenate(waiting)
            num_waiting %= _DOCUMENTS_A_FILE
            stop = len(whole) - num_waiting
            for at in range(0, stop, _DOCUMENTS_A_FILE):
                yield whole[at : at + _DOCUMENTS_A_FILE]
            waiting, is_first = [whole[stop:]], False
    if num_waiting or is_first:
        yield np.concatenate(waiting)


def _documents_table(
    records: npt.NDArray[np.void], paths: pa.StringArray, first_token: int, first_source: int
) -> pa.Table:
    num_tokens = records["num_tokens"].astype(np.int64)
    source = records["source"].astype(np.int32)
    # In pieces: one array holds no more than 2 GB of characters.
    path = pa.chunked_array(
        [
            paths.take(pa.array(source[at : at + _ROWS_A_GROUP]))
            for at in range(0, len(source), _ROWS_A_GROUP)
        ],
        pa.string(),
    )
    columns = [
        pa.array(source + np.int32(first_source)),
        path,
        pa.array(records["place"]),
        pa.array(first_token + np.cumsum(num_tokens) - num_tokens),
        pa.array(num_tokens),
    ]
    return pa.Table.from_arrays(columns, schema=DOCUMENTS_SCHEMA)


def copy_tokenizer(out: Path, tokenizer: KnownTokenizer) -> None:
    """Copies the tokenizer's files beside the shards.

    Raises:
        ValueError: A file is no longer what made the ids.
    """
    folder = out / TOKENIZER_DIR
    folder.mkdir(exist_ok=True)
    for name, path in tokenizer.files.items():
        with committing(folder / name) as file, open(path, "rb") as source:
            shutil.copyfileobj(source, file)
        if file_sha256(folder / name) != tokenizer.identity.files[name]:
            raise ValueError(f"{path} changed while it was in use: run the same command again.")


def write_rejects(out: Path, segments: Sequence[Segment], num_sources: int, part: int) -> list[str]:
    """Writes a line for each document that a part left out, in the order of the sources; returns file names.

    The first part's are in `rejects.jsonl`, an append's in a file of its own; without rejects there is none.
    """
    if not any(segment.marker.num_rejected for segment in segments):
        return []
    name = f"rejects.{part:05}.jsonl" if part else "rejects.jsonl"
    lines = [0] * num_sources
    with committing(out / name) as file:
        for segment in segments:
            for source, record in segment.rejects():
                if record["place"] is not None:
                    record["place"] += lines[source]
                file.write(orjson.dumps(record) + b"\n")
            for piece in segment.marker.pieces:
                lines[piece.source] += piece.num_lines
    return [name]


def count_by_source(segments: Sequence[Segment], num_sources: int) -> tuple[list[int], list[int]]:
    """Returns the number of documents and the number of tokens of each source file."""
    documents = np.zeros(num_sources, np.int64)
    tokens = np.zeros(num_sources, np.int64)
    for segment in segments:
        records = segment.documents()
        np.add.at(documents, records["source"], 1)
        np.add.at(tokens, records["source"], records["num_tokens"])
    return documents.tolist(), tokens.tolist()


def fingerprint_sources(segments: Sequence[Segment], files: Sequence[SourceFile]) -> list[str]:
    """Returns the fingerprint of each source file, of the blocks that its tasks hashed."""
    blocks: list[list[str]] = [[] for _ in files]
    for segment in segments:
        for piece in segment.marker.pieces:
            blocks[piece.source] += piece.blocks
    # With a limit, what lies behind the last document wanted was not read.
    return [
        join_blocks(file, hashes) if len(hashes) == num_blocks(file) else fingerprint(file)
        for file, hashes in zip(files, blocks, strict=True)
    ]
