"""The origin of a dataset's tokens: its documents' texts, read again from the sources and encoded again."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from .adopting import AdoptedIds
from .adoption import Adoption
from .card import DatasetCard
from .dataset_files import DatasetFiles
from .documents import Reject, explain, read_documents
from .encoder import Encoder
from .fast_encoder import reference_encoder
from .file_systems import status_of
from .inspection import stored_tokenizer
from .merging import DOCUMENTS_DIR
from .packing import pack
from .parquet import iter_batches, open_parquet
from .source_file import SourceFile
from .sources import Reading, source_file

_BATCH_CHARACTERS = 1 << 20
_COLUMNS = ["source", "place", "first_token", "num_tokens"]


class DocumentRecord(NamedTuple):
    """A row of `documents/*.parquet`: which source, where in it, and which tokens."""

    source: int
    place: int
    first_token: int
    num_tokens: int


class OriginError(ValueError):
    """A document can't be had from its source any more."""


def records_between(files: DatasetFiles, card: DatasetCard, start: int, stop: int) -> list[DocumentRecord]:
    """Returns the records of the documents that have a token at a position start <= i < stop."""
    found: list[DocumentRecord] = []
    for batch in record_batches(files, card):
        first, length = batch["first_token"], batch["num_tokens"]
        overlap = pc.and_(pc.less(first, stop), pc.greater(pc.add(first, length), start))
        found += [DocumentRecord(**record) for record in batch.filter(overlap).to_pylist()]
    return found


def records_from(files: DatasetFiles, card: DatasetCard, start: int) -> Iterator[DocumentRecord]:
    """Yields the records of the documents that end after position `start`, in order."""
    for batch in record_batches(files, card):
        late = pc.greater(pc.add(batch["first_token"], batch["num_tokens"]), start)
        yield from (DocumentRecord(**record) for record in batch.filter(late).to_pylist())


def sampled_records(files: DatasetFiles, card: DatasetCard, number: int, seed: int) -> list[DocumentRecord]:
    """Returns the records of so many documents, drawn from all of a dataset without repetition, in order."""
    number = min(number, card.num_documents)
    drawn = np.sort(np.random.default_rng(seed).choice(card.num_documents, number, replace=False))
    found: list[DocumentRecord] = []
    at = 0
    for batch in record_batches(files, card):
        here = drawn[(drawn >= at) & (drawn < at + len(batch))] - at
        found += [DocumentRecord(**record) for record in batch.take(here).to_pylist()]
        at += len(batch)
    return found


def record_batches(files: DatasetFiles, card: DatasetCard) -> Iterator[Any]:
    """Yields the records of all documents as Arrow batches, in order."""
    for name in sorted(name for name in card.files if name.startswith(DOCUMENTS_DIR)):
        with files.open(name) as opened:
            yield from iter_batches(open_parquet(opened), 1 << 16, _COLUMNS)


def stored_encoder(files: DatasetFiles, card: DatasetCard) -> Encoder:
    """Returns the reference encoder of a dataset, or what stands in for it in an adopted one."""
    if card.recipe.adopt is not None:
        return AdoptedIds()
    return reference_encoder(stored_tokenizer(files, card))


def encode_again(
    card: DatasetCard, records: Sequence[DocumentRecord], encoder: Encoder
) -> Iterator[tuple[DocumentRecord, npt.NDArray[np.unsignedinteger]]]:
    """Yields each record with the ids that its document gives now, begin- and end-of-text included.

    `records` are in the order of the dataset.

    Raises:
        OriginError: A source is gone or changed, or a document is not where it was.
    """
    batch: list[tuple[DocumentRecord, str]] = []
    for record, text in _texts(card, records):
        batch.append((record, text))
        if sum(len(text) for _, text in batch) >= _BATCH_CHARACTERS:
            yield from _encoded(card, batch, encoder)
            batch = []
    yield from _encoded(card, batch, encoder)


def _encoded(
    card: DatasetCard, batch: Sequence[tuple[DocumentRecord, str]], encoder: Encoder
) -> Iterator[tuple[DocumentRecord, npt.NDArray[np.unsignedinteger]]]:
    if not batch:
        return
    tokenizer = card.tokenizer
    ids, lengths = encoder.encode_batch([text for _, text in batch])
    packed = pack(ids, lengths, tokenizer.eos_id, tokenizer.bos_id, card.dtype)
    start = 0
    for (record, _), length in zip(batch, packed.lengths.tolist(), strict=True):
        yield record, packed.tokens[start : start + length]
        start += length


def _texts(card: DatasetCard, records: Sequence[DocumentRecord]) -> Iterator[tuple[DocumentRecord, str]]:
    """Reads each source once, no further than its last wanted document."""
    by_source: dict[int, list[DocumentRecord]] = {}
    for record in records:
        by_source.setdefault(record.source, []).append(record)
    for number, wanted in by_source.items():
        source = stored_source(card, number)
        at = 0
        for found in read_documents(source):
            if at == len(wanted):
                break
            if isinstance(found, Reject):
                if found.place in (None, wanted[at].place):
                    raise OriginError(explain(source, found))
            elif found.place == wanted[at].place:
                yield wanted[at], found.text
                at += 1
        if at < len(wanted):
            raise OriginError(f"{source.path} has no document at place {wanted[at].place} any more.")


def stored_source(card: DatasetCard, number: int) -> SourceFile:
    """Returns a source of a card as the file that it is now.

    Raises:
        OriginError: It is gone, or has another size.
    """
    stored = card.sources[number]
    ends = np.cumsum([part.num_sources for part in card.parts])
    recipe = card.parts[int(np.searchsorted(ends, number, side="right"))].recipe
    try:
        status = status_of(stored.path)
    except OSError as error:
        raise OriginError(f"{stored.path} can't be read: {error}.") from None
    if status.size != stored.size:
        raise OriginError(f"{stored.path} has {status.size} bytes now, and had {stored.size}: it changed.")
    if recipe.adopt is not None:
        adoption = Adoption(
            recipe.adopt, card.tokenizer.eos_id, card.tokenizer.vocab_size, recipe.adopt_dtype
        )
        return SourceFile(stored.path, stored.format, None, status.size, status.modified, adoption=adoption)
    return source_file(stored.path, status, Reading(stored.format, stored.text_key or "", recipe.split))
