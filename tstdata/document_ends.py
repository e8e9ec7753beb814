"""Document ends: the positions where `documents/*.parquet` says that documents end, checked on the way."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .card import DatasetCard
from .dataset_files import DatasetFiles
from .merging import DOCUMENTS_DIR, DOCUMENTS_SCHEMA
from .parquet import iter_batches, open_parquet

Positions = npt.NDArray[np.int64]


class DocumentEnds:
    """Reads the documents of a dataset in order, once, and checks that they cover its tokens without a gap.

    With `intact` False nothing is read: Arrow is not safe on bytes that are known to be damaged.
    """

    def __init__(self, files: DatasetFiles, card: DatasetCard, intact: bool) -> None:
        self._card = card
        self._problems: list[str] = []
        self._next_token = 0
        self._documents = np.zeros(len(card.sources), np.int64)
        self._tokens = np.zeros(len(card.sources), np.int64)
        self._last_source = 0
        self._readable = intact
        self._waiting: Positions = np.zeros(0, np.int64)
        self._batches = self._read(files)

    def take(self, start: int, stop: int) -> Positions | None:
        """Returns the ends at positions start <= i < stop, or None once the documents can't be read.

        Calls must go through the dataset in order.
        """
        while self._readable and self._next_token < stop:
            batch = next(self._batches, None)
            if batch is None:
                break
            self._waiting = np.concatenate([self._waiting, batch])
        if not self._readable:
            return None
        cut = int(np.searchsorted(self._waiting, stop))
        taken, self._waiting = self._waiting[:cut], self._waiting[cut:]
        return taken[taken >= start]

    def problems(self) -> list[str]:
        """Returns what is wrong with the documents, after reading what was not taken."""
        while self._readable and next(self._batches, None) is not None:
            pass
        if self._readable:
            if self._next_token != self._card.num_tokens:
                self._problems.append(
                    f"the documents hold {self._next_token} tokens; the card says {self._card.num_tokens}"
                )
            for number, source in enumerate(self._card.sources):
                found = (int(self._documents[number]), int(self._tokens[number]))
                if found != (source.num_documents, source.num_tokens):
                    self._problems.append(
                        f"{source.path} has {found[0]} documents of {found[1]} tokens; the card says "
                        f"{source.num_documents} of {source.num_tokens}"
                    )
        return self._problems

    def _read(self, files: DatasetFiles) -> Iterator[Positions]:
        for name in sorted(name for name in self._card.files if name.startswith(DOCUMENTS_DIR)):
            try:
                with files.open(name) as opened:
                    file = open_parquet(opened)
                    if not file.schema_arrow.equals(DOCUMENTS_SCHEMA):
                        raise ValueError(f"its columns are {file.schema_arrow.names}")
                    for batch in iter_batches(file, 1 << 16, ["source", "first_token", "num_tokens"]):
                        yield self._check(batch)
            # Arrow raises many kinds of exception on what it did not write; none may end a verification.
            except Exception as error:
                self._readable = False
                self._problems.append(f"{name} can't be read: {error}")
                return

    def _check(self, batch: pa.RecordBatch) -> Positions:
        """Checks that a batch goes on where the last one stopped; returns the ends of its documents."""
        source, first, length = (column.to_numpy(zero_copy_only=False).astype(np.int64) for column in batch)
        ends = first + length - 1
        in_order = np.diff(source, prepend=self._last_source).min(initial=0) >= 0
        if not in_order or (len(source) and source[-1] >= len(self._card.sources)):
            raise ValueError("its sources are not those of the card, in order")
        if len(first) and (int(first[0]) != self._next_token or (first[1:] != ends[:-1] + 1).any()):
            raise ValueError("a document does not begin where the one before it ends")
        if length.min(initial=1) < 1:
            raise ValueError("a document has no token; each has at least its end-of-text")
        np.add.at(self._documents, source, 1)
        np.add.at(self._tokens, source, length)
        if len(source):
            self._last_source = int(source[-1])
            self._next_token = int(ends[-1]) + 1
        return ends
