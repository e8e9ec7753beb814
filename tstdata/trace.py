"""Tracing: which documents the tokens of a dataset come from, out of `documents/*.parquet`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .card import DatasetCard
from .formats import place_name
from .merging import DOCUMENTS_DIR


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
        for table in _groups(dataset, card, start, stop):
            for record in table.to_pylist():
                first, length = record["first_token"], record["num_tokens"]
                if first < stop and first + length > start:
                    kind = place_name(card.sources[record["source"]].format)
                    found.append(TracedDocument(record["path"], kind, record["place"], first, length))
    # Whatever Arrow and its metadata raise on files that are damaged or not ours.
    except (pa.ArrowException, OSError, LookupError, ValueError, AttributeError) as error:
        folder = dataset / DOCUMENTS_DIR
        raise ValueError(f"{folder} can't be read: {error}. Check with: tst verify {dataset}") from None
    return found


def _groups(dataset: Path, card: DatasetCard, start: int, stop: int) -> Iterator[pa.Table]:
    """Yields the row groups that hold documents of these positions, by the first token of each group."""
    groups: list[tuple[Path, int, int]] = []
    for path in (dataset / name for name in sorted(card.files) if name.startswith(DOCUMENTS_DIR)):
        metadata = pq.read_metadata(path)
        column = metadata.schema.names.index("first_token")
        for number in range(metadata.num_row_groups):
            groups.append((path, number, metadata.row_group(number).column(column).statistics.min))
    ends = [first for _, _, first in groups[1:]] + [stop]
    for (path, number, first), end in zip(groups, ends, strict=True):
        if first < stop and end > start:
            with pq.ParquetFile(path) as file:
                yield file.read_row_group(number)
