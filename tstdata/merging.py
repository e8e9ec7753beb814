"""Merging: from committed segments to the finished files of a dataset."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from .commit import committing, file_sha256
from .fingerprints import fingerprint, join_blocks, num_blocks
from .segments import Segment
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
# No two documents begin at one token: a dictionary of such numbers is larger than they are.
_DOCUMENTS_FORMAT: dict[str, Any] = {
    "compression": "zstd",
    "row_group_size": 1 << 16,
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
    for part in _parts(_documents_tables(segments, paths, first)):
        names.append(f"{DOCUMENTS_DIR}/documents.{first.file + len(names):05}.parquet")
        with committing(out / names[-1]) as file:
            pq.write_table(part, file, **_DOCUMENTS_FORMAT)
    return names


def _parts(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yields the same rows, one file's at a time; an empty part if there are none."""
    waiting, rows = [DOCUMENTS_SCHEMA.empty_table()], 0
    is_first = True
    for table in tables:
        waiting.append(table)
        rows += len(table)
        while rows >= _DOCUMENTS_A_FILE:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, _DOCUMENTS_A_FILE)
            waiting, rows = [whole.slice(_DOCUMENTS_A_FILE)], rows - _DOCUMENTS_A_FILE
            is_first = False
    if rows or is_first:
        yield pa.concat_tables(waiting)


def _documents_tables(
    segments: Sequence[Segment], paths: Sequence[str], first: Numbering
) -> Iterator[pa.Table]:
    first_token = first.token
    lines = [0] * len(paths)  # Of each source, those of its pieces so far: a segment counts from its piece's.
    for segment in segments:
        records = segment.documents()
        for piece in segment.marker.pieces:
            records["place"][records["source"] == piece.source] += lines[piece.source]
            lines[piece.source] += piece.num_lines
        yield _documents_table(records, paths, first_token, first.source)
        first_token += segment.num_tokens


def _documents_table(records: Any, paths: Sequence[str], first_token: int, first_source: int) -> pa.Table:
    num_tokens = records["num_tokens"].astype(np.int64)
    sources, codes = np.unique(records["source"], return_inverse=True)
    path = pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32)), pa.array([paths[source] for source in sources], pa.string())
    ).cast(pa.string())
    columns = [
        pa.array(records["source"].astype(np.int32) + np.int32(first_source)),
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
