"""`verify`: re-reads every byte of a dataset against its hashes, its counts and its promises."""

import collections
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .card import CARD_FILE, DatasetCard
from .contradictions import contradictions
from .dataset_files import DatasetFiles, DatasetPath
from .document_ends import DocumentEnds
from .merging import DOCUMENTS_DIR, TOKENIZER_DIR
from .output import REQUEST_FILE, WORK_DIR
from .progress import Progress
from .repair import repair as repair_files
from .repair import repair_index
from .shard_reading import CheckedShard, check_shard, layout_of, read_index, rows_of_shard
from .shards import INDEX_FILE, index_bytes, shard_names
from .source_check import check_sources


@dataclass(frozen=True)
class Problem:
    """A file of the dataset, by its path inside it, and what is wrong with it."""

    file: str
    what: str


@dataclass
class VerifyReport:
    """What was checked and what is wrong; `card` is None when it can't be read, `repaired` names files."""

    files: DatasetFiles
    card: DatasetCard | None = None
    problems: list[Problem] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def add(self, file: str, what: str) -> None:
        """Notes a problem."""
        self.problems.append(Problem(file, what))


def verify(
    dataset: DatasetPath, progress: bool = False, *, workers: int = 1, sources: int = 0, repair: bool = False
) -> VerifyReport:
    """Checks a dataset: hashes, sizes, headers, id range, counts, and that documents end where they should.

    Args:
        dataset: The directory, or the URI of one in a store.
        progress: Shows a bar on standard error.
        workers: Shards checked at once.
        sources: Reads so many documents again from the original corpus, encodes them and compares the ids.
        repair: Makes damaged shards again from the original corpus, to the same bytes; then checks once more.

    Returns:
        The report. A damaged file is a problem in it, never an exception.

    Raises:
        FileNotFoundError: There is no such directory.
        ValueError: `repair` can't bring the bytes back.
    """
    report = _verify(dataset, progress, workers, sources)
    if not repair or report.ok or report.card is None:
        return report
    repaired: list[str] = []
    # Without the index no shard can be told from a damaged one; perhaps it is the only damage.
    if any(one.file == INDEX_FILE for one in report.problems) and repair_index(report.files, report.card):
        repaired.append(INDEX_FILE)
        report = _verify(dataset, progress, workers, sources)
    assert report.card is not None
    damaged = {problem.file for problem in report.problems}
    repaired += repair_files(report.files, report.card, damaged, progress)
    report = _verify(dataset, progress, workers, sources)
    report.repaired = repaired
    return report


def _verify(dataset: DatasetPath, progress: bool, workers: int, sources: int) -> VerifyReport:
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
    _check_shards(report, card, ends, workers, progress)
    _check_leftover(report, card, ends)
    for what in ends.problems():
        report.add(DOCUMENTS_DIR, what)
    if sources and report.ok:
        for problem in check_sources(files, card, sources, progress):
            report.add(*problem)
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
    for what in contradictions(card):
        report.add(CARD_FILE, what)
    return card


def _has_work(files: DatasetFiles) -> bool:
    return files.exists(f"{WORK_DIR}/{REQUEST_FILE}")


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


def _check_shards(
    report: VerifyReport, card: DatasetCard, ends: DocumentEnds, workers: int, progress: bool
) -> None:
    """Checks the shards, several at once; what they say is compared with the documents in order."""
    try:
        entries = read_index(report.files)
    except (ValueError, OSError):
        entries = []  # What is wrong with index.json was told by its hash.

    def check(shard: int) -> CheckedShard:
        return check_shard(report.files, shard, entries[shard] if shard < len(entries) else None, card)

    with (
        Progress("verifying", card.num_rows * layout_of(card).row_bytes, progress) as bar,
        ThreadPoolExecutor(workers) as pool,
    ):
        at = 0
        for shard, checked in enumerate(_in_turn(pool, check, card.num_shards, workers)):
            raw_name, zip_name = shard_names(shard, card.recipe.compression)
            num_tokens = rows_of_shard(shard, card) * card.seq_len
            wanted = ends.take(at, at + num_tokens)
            if checked.ends is not None and wanted is not None:
                checked.problems += _misplaced_ends(at + checked.ends, wanted, card)
            for what in checked.problems:
                report.add(zip_name or raw_name, what)
            at += num_tokens
            bar.advance(num_tokens * np.dtype(card.dtype).itemsize, num_tokens)


def _in_turn(
    pool: ThreadPoolExecutor, check: Callable[[int], CheckedShard], number: int, workers: int
) -> Iterator[CheckedShard]:
    """Yields the results in order, with no more than two shards a worker begun at any time."""
    begun: collections.deque[Future[CheckedShard]] = collections.deque()
    for shard in range(number):
        begun.append(pool.submit(check, shard))
        if len(begun) >= 2 * workers:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


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
