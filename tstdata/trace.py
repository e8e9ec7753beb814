"""Tracing: which documents the tokens of a dataset come from, out of `documents/*.parquet`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .card import DatasetCard
from .documents import place_name
from .merging import DOCUMENTS_DIR

_FIRST_TOKEN_COLUMN = "first_token"


@dataclass(frozen=True)
class TracedDocument:
    """A document: its file, the line, row or byte (`place_kind`) it is at, and the tokens it became."""

    path: str
    place_kind: str
    place: int
    first_token: int
    num_tokens: int


def trace(dataset: Path, card: DatasetCard, start: int, stop: int) -> list[TracedDocument]:
    """Returns the documents with a token at a position start <= i < stop of the dataset, in order.

    Raises:
        ValueError: `documents/` can't be read.
    """
    found: list[TracedDocument] = []
    try:
        for table in _groups(dataset, start, stop):
            for record in table.to_pylist():
                first, length = record["first_token"], record["num_tokens"]
                if first < stop and first + length > start:
                    kind = place_name(card.sources[record["source"]].format)
                    found.append(TracedDocument(record["path"], kind, record["place"], first, length))
    except (pa.ArrowException, OSError, LookupError) as error:
        folder = dataset / DOCUMENTS_DIR
        raise ValueError(f"{folder} can't be read: {error}. Check with: tst verify {dataset}") from None
    return found


def _groups(dataset: Path, start: int, stop: int) -> Iterator[pa.Table]:
    """Yields the row groups that can hold such documents, by the least and greatest first token of each."""
    for path in sorted((dataset / DOCUMENTS_DIR).glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            column = file.schema_arrow.names.index(_FIRST_TOKEN_COLUMN)
            firsts = [
                file.metadata.row_group(group).column(column).statistics.min
                for group in range(file.metadata.num_row_groups)
            ]
            for group, first in enumerate(firsts):
                # The last document of a group ends where the next begins; of the file's last group, unknown.
                last_end = firsts[group + 1] if group + 1 < len(firsts) else stop
                if first < stop and last_end >= start:
                    yield file.read_row_group(group)
