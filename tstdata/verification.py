"""`verify`: re-reads every byte of a dataset against its hashes, its counts and its promises."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .card import CARD_FILE, COUNTS, DatasetCard, sha256_of
from .dataset_files import DatasetFiles, DatasetPath
from .document_ends import DocumentEnds
from .merging import DOCUMENTS_DIR, TOKENIZER_DIR
from .output import REQUEST_FILE, WORK_DIR
from .progress import Progress
from .shard_reading import check_shard, layout_of, read_index, rows_of_shard
from .shards import INDEX_FILE, index_bytes, shard_names


@dataclass(frozen=True)
class Problem:
    """A file of the dataset, by its path inside it, and what is wrong with it."""

    file: str
    what: str


@dataclass
class VerifyReport:
    """What was checked and what is wrong; `card` is None when it can't be read."""

    files: DatasetFiles
    card: DatasetCard | None = None
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def add(self, file: str, what: str) -> None:
        """Notes a problem."""
        self.problems.append(Problem(file, what))


def verify(dataset: DatasetPath, progress: bool = False) -> VerifyReport:
    """Checks a dataset: hashes, sizes, headers, id range, counts, and that documents end where they should.

    Args:
        dataset: The directory, or the URI of one in a store.
        progress: Shows a bar on standard error.

    Returns:
        The report. A damaged file is a problem in it, never an exception.

    Raises:
        FileNotFoundError: There is no such directory.
    """
    files = DatasetFiles.of(dataset)
    if not files.is_remote and not os.path.isdir(files.root):
        raise FileNotFoundError(f"{files} is not a directory; give the directory of a prepared dataset.")
    report = VerifyReport(files)
    card = _check_card(report)
    if card is None:
        return report
    report.card = card
    _check_hashes(report, card)
    intact = not any(problem.file.startswith(DOCUMENTS_DIR) for problem in report.problems)
    ends = DocumentEnds(files, card, intact)
    _check_shards(report, card, ends, progress)
    _check_leftover(report, card, ends)
    for what in ends.problems():
        report.add(DOCUMENTS_DIR, what)
    return report


def _check_card(report: VerifyReport) -> DatasetCard | None:
    if not report.files.exists(CARD_FILE):
        begun = " (an interrupted `tst prepare` left work: run it again)" if _has_work(report.files) else ""
        report.add(CARD_FILE, f"is missing: the dataset is not finished{begun}")
        return None
    try:
        data = report.files.read(CARD_FILE)
        card = DatasetCard.from_bytes(data)
    except (ValueError, OSError) as error:
        report.add(CARD_FILE, str(error))
        return None
    if data != card.to_bytes():
        report.add(CARD_FILE, "is not byte for byte as it was written")
    for what in _contradictions(card):
        report.add(CARD_FILE, what)
    return card


def _has_work(files: DatasetFiles) -> bool:
    return files.exists(f"{WORK_DIR}/{REQUEST_FILE}")


def _contradictions(card: DatasetCard) -> Iterator[str]:
    """Yields what can't be true at once on a card."""
    rules = {
        "num_tokens is not num_rows * seq_len + the leftover": card.num_tokens
        == card.num_rows * card.seq_len + len(card.leftover),
        "the leftover fills a row": len(card.leftover) < card.seq_len,
        "the sources' documents are not num_documents": card.num_documents
        == sum(source.num_documents for source in card.sources),
        "the sources' tokens are not num_tokens": card.num_tokens
        == sum(source.num_tokens for source in card.sources),
        "recipe_sha256 is not the recipe's": card.recipe_sha256
        == sha256_of(card.recipe.model_dump(mode="json")),
        "seq_len is not the recipe's": card.seq_len == card.recipe.seq_len,
        "its parts do not sum up to its counts": all(
            getattr(card, name) == sum(getattr(part, name) for part in card.parts) for name in COUNTS
        )
        and len(card.sources) == sum(part.num_sources for part in card.parts),
        "dtype does not fit the vocabulary": card.dtype
        == ("uint16" if card.tokenizer.vocab_size <= 1 << 16 else "uint32"),
        "num_shards does not hold num_rows": rows_of_shard(card.num_shards - 1, card) > 0
        and rows_of_shard(card.num_shards, card) == 0,
    }
    yield from (f"contradicts itself: {what}" for what, holds in rules.items() if not holds)


def _check_hashes(report: VerifyReport, card: DatasetCard) -> None:
    """Checks every file whose sha256 is on the card."""
    tokenizer = {f"{TOKENIZER_DIR}/{name}": sha256 for name, sha256 in card.tokenizer.files.items()}
    for name, wanted in {**card.files, **tokenizer}.items():
        try:
            found = report.files.sha256(name)
            if name == INDEX_FILE and found != wanted:
                found = _sha256_without_append(report.files, card) or found
        except FileNotFoundError:
            report.add(name, "is missing")
        except OSError as error:
            report.add(name, f"can't be read: {error}")
        else:
            if found != wanted:
                report.add(name, f"its sha256 is {found}; the card says {wanted}")


def _sha256_without_append(files: DatasetFiles, card: DatasetCard) -> str | None:
    """Returns the hash of the index without what an append put there that did not come to its card."""
    try:
        entries = read_index(files)
    except (ValueError, OSError):
        return None
    return hashlib.sha256(index_bytes(entries[: card.num_shards])).hexdigest()


def _check_shards(report: VerifyReport, card: DatasetCard, ends: DocumentEnds, progress: bool) -> None:
    """Checks the shards one by one, in order."""
    try:
        entries = read_index(report.files)
    except (ValueError, OSError):
        entries = []  # What is wrong with index.json was told by its hash.
    with Progress("verifying", card.num_rows * layout_of(card).row_bytes, progress) as bar:
        at = 0
        for shard in range(card.num_shards):
            raw_name, zip_name = shard_names(shard, card.recipe.compression)
            entry = entries[shard] if shard < len(entries) else None
            checked = check_shard(report.files, shard, entry, card)
            num_tokens = rows_of_shard(shard, card) * card.seq_len
            wanted = ends.take(at, at + num_tokens)
            if checked.rows is not None and wanted is not None:
                found = at + np.flatnonzero(checked.rows.reshape(-1) == card.tokenizer.eos_id)
                checked.problems += _misplaced_ends(found, wanted, card)
            for what in checked.problems:
                report.add(zip_name or raw_name, what)
            at += num_tokens
            bar.advance(num_tokens * np.dtype(card.dtype).itemsize, num_tokens)


def _check_leftover(report: VerifyReport, card: DatasetCard, ends: DocumentEnds) -> None:
    """Checks the ids after the last row, which only the card has."""
    start = card.num_rows * card.seq_len
    ids = np.array(card.leftover, np.int64)
    wanted = ends.take(start, start + len(ids))
    vocab_size = card.tokenizer.vocab_size
    if len(ids) and int(ids.max()) >= vocab_size:
        report.add(CARD_FILE, f"its leftover has id {ids.max()}; the tokenizer's ids are below {vocab_size}")
    if wanted is not None:
        found = start + np.flatnonzero(ids == card.tokenizer.eos_id)
        for what in _misplaced_ends(found, wanted, card):
            report.add(CARD_FILE, f"leftover: {what}")


def _misplaced_ends(
    found: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64], card: DatasetCard
) -> Iterator[str]:
    """Tells where end-of-text ids are not exactly where documents end."""
    wrong = np.setxor1d(found, wanted, assume_unique=True)
    if len(wrong):
        first = int(wrong[0])
        what = "there is none" if first in wanted else "no document ends there"
        yield (
            f"{len(wrong)} end-of-text ids are not where {DOCUMENTS_DIR}/ has document ends; first at token "
            f"{first} (row {first // card.seq_len}): {what}"
        )
