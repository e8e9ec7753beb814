"""Finding text in a dataset: which documents hold it, and in which rows."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .card import DatasetCard
from .dataset_files import DatasetFiles
from .formats import place_name
from .inspection import stored_tokenizer
from .origin import DocumentRecord, records_from
from .progress import Progress
from .shard_reading import read_tokens

# Tokens decoded at once; a longer document is searched window by window.
_WINDOW = 1 << 20
_CONTEXT = 60


@dataclass(frozen=True)
class Found:
    """A document that holds the text: its place, the rows of the first occurrence, and what is around it."""

    path: str
    place_kind: str
    place: int
    first_row: int
    last_row: int
    context: str


@dataclass
class Search:
    """A search through the documents that end after token `next_token`.

    It begins none after `most_tokens` tokens.
    """

    files: DatasetFiles
    card: DatasetCard
    text: str
    most_tokens: int
    next_token: int = 0
    is_done: bool = False

    def run(self, most_found: int, progress: bool = False) -> Iterator[Found]:
        """Yields the documents that hold the text; afterwards `is_done`, or `next_token` is where to go on.

        Raises:
            ValueError: A shard is damaged.
            OSError: A file can't be read.
        """
        backend = stored_tokenizer(self.files, self.card).backend
        start, number = self.next_token, 0
        stop = min(start + self.most_tokens, self.card.num_tokens)
        with Progress("searching", (stop - start) * 4, progress) as bar:
            for record in records_from(self.files, self.card, start):
                self.next_token = record.first_token
                if record.first_token >= stop or number >= most_found:
                    return
                found = self._search(record, backend)
                bar.advance(record.num_tokens * 4, record.num_tokens)
                if found is not None:
                    number += 1
                    yield found
        self.is_done = True

    def _search(self, record: DocumentRecord, backend: Any) -> Found | None:
        """Looks for the first occurrence; every token is a byte or more, so windows overlap by as many."""
        overlap = len(self.text.encode()) + 8
        end = record.first_token + record.num_tokens - 1
        for at in range(record.first_token, max(end, record.first_token + 1), _WINDOW):
            ids = read_tokens(self.files, self.card, at, min(at + _WINDOW + overlap, end)).tolist()
            text = backend.decode(ids, skip_special_tokens=False)
            where = text.find(self.text)
            if where >= 0:
                return self._found(record, at, ids, text, where, backend)
        return None

    def _found(
        self, record: DocumentRecord, at: int, ids: list[int], text: str, where: int, backend: Any
    ) -> Found:
        def length(number: int) -> int:
            return len(backend.decode(ids[:number], skip_special_tokens=False))

        numbers = range(len(ids) + 1)
        first = bisect_left(numbers, where + 1, key=length) - 1
        last = bisect_left(numbers, where + len(self.text), key=length) - 1
        source = self.card.sources[record.source]
        return Found(
            path=source.path,
            place_kind=place_name(source.format),
            place=record.place,
            first_row=(at + first) // self.card.seq_len,
            last_row=(at + max(first, last)) // self.card.seq_len,
            context=text[max(0, where - _CONTEXT) : where + len(self.text) + _CONTEXT],
        )
