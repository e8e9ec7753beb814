"""Tracing: which documents the tokens of a dataset come from, out of `documents/*.parquet`."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from .card import DatasetCard
from .dataset_files import DatasetFiles, DatasetPath
from .formats import place_name
from .merging import DOCUMENTS_DIR
from .parquet import open_parquet, read_group


@dataclass(frozen=True)
class TracedDocument:
    """A document: its file, the line, row or byte (`place_kind`) it is at, and the tokens it became."""

    path: str
    place_kind: str
    place: int
    first_token: int
    num_tokens: int


def trace(dataset: DatasetPath, card: DatasetCard, start: int, stop: int) -> list[TracedDocument]:
    """Returns the documents with a token at a position start <= i < stop of the dataset, in order.

    Raises:
        ValueError: `documents/` can't be read.
    """
    files = DatasetFiles.of(dataset)
    found: list[TracedDocument] = []
    try:
        for table in _groups(files, card, start, stop):
            for record in table.to_pylist():
                first, length = record["first_token"], record["num_tokens"]
                if first < stop and first + length > start:
                    kind = place_name(card.sources[record["source"]].format)
                    found.append(TracedDocument(record["path"], kind, record["place"], first, length))
    # Whatever Arrow and its metadata raise on files that are damaged or not ours.
    except (pa.ArrowException, OSError, LookupError, ValueError, AttributeError) as error:
        folder = files.path(DOCUMENTS_DIR)
        raise ValueError(f"{folder} can't be read: {error}. Check with: tst verify {files}") from None
    return found


def _groups(files: DatasetFiles, card: DatasetCard, start: int, stop: int) -> Iterator[pa.Table]:
    """Yields the row groups that hold documents of these positions, by the first token of each group."""
    groups: list[tuple[str, int, int]] = []
    for path in sorted(name for name in card.files if name.startswith(DOCUMENTS_DIR)):
        with files.open(path) as opened:
            metadata = open_parquet(opened).metadata
        column = metadata.schema.names.index("first_token")
        for number in range(metadata.num_row_groups):
            groups.append((path, number, metadata.row_group(number).column(column).statistics.min))
    ends = [first for _, _, first in groups[1:]] + [stop]
    for (path, number, first), end in zip(groups, ends, strict=True):
        if first < stop and end > start:
            with files.open(path) as opened:
                yield read_group(open_parquet(opened), number)
