"""The output directory: whose it is, what it holds, and what is left of it when a preparation fails."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from .card import CARD_FILE, DatasetCard
from .commit import commit_bytes
from .file_systems import exists, join
from .options import PrepareOptions
from .request import MadeOf, Request, differences, unlike
from .segments import Segment, load_segment, segment_stem
from .selection import TRAIN
from .source_changes import since_card, since_request
from .source_file import SourceFile
from .tasks import Task

# Where unfinished work is kept inside the output; gone when the dataset is finished.
WORK_DIR = ".prepare"
# The same for an append: what it adds to stays a finished dataset.
APPEND_DIR = ".append"
REQUEST_FILE = "request.json"


def check_output(out: Path) -> None:
    """Refuses an output that holds what no preparation put there.

    Raises:
        FileExistsError: It is a file, or a directory of something else.
    """
    _check_no_file(out)
    ours = (out / CARD_FILE).exists() or (out / WORK_DIR).exists()
    if (out / TRAIN / CARD_FILE).exists() and not ours:
        raise FileExistsError(
            f"{out} holds the two datasets of a holdout. Run the same command as before, --holdout included, "
            "or give another --out."
        )
    if out.is_dir() and not ours and (names := sorted(os.listdir(out))):
        raise FileExistsError(
            f"{out} is not empty (it has {', '.join(names[:3])}) and no preparation began it. Give another "
            "--out, or empty it first."
        )


def _check_no_file(out: str | Path) -> None:
    if os.path.exists(out) and not os.path.isdir(out):
        raise FileExistsError(f"{out} is a file; --out names the dataset's directory. Give another --out.")


def check_parts(out: str) -> None:
    """Refuses to put the two datasets of a holdout into what is, or was begun as, one dataset.

    Raises:
        FileExistsError: It is, or it is a file.
    """
    _check_no_file(out)
    if any(exists(join(out, name)) for name in (CARD_FILE, f"{WORK_DIR}/{REQUEST_FILE}")):
        raise FileExistsError(
            f"{out} is, or was begun as, a dataset without --holdout. Give another --out, or remove it."
        )


def keep_request(work: Path, request: Request) -> None:
    """Begins the unfinished work of a preparation or an append: from now on no other may use it."""
    commit_bytes(work / REQUEST_FILE, request.to_bytes())


def check_begin(
    out: Path, request: Request, files: Sequence[SourceFile], tasks: Sequence[Task], options: PrepareOptions
) -> bool:
    """Tells whether a preparation is finished already; refuses one that can't begin here, or go on.

    Raises:
        ValueError: The output is, or was begun as, another dataset.
    """
    finished = (out / CARD_FILE).exists()
    if finished:
        changes = _since_part(DatasetCard.load(out), 0, request, files, options)
    else:
        changes = _since_begun(out / WORK_DIR, request, files, tasks)
    if changes:
        state = "holds a finished dataset" if finished else "holds unfinished work"
        raise ValueError(
            f"{out} {state} of another recipe, tokenizer or source: {'; '.join(changes)}. Give another "
            "--out, or remove it to start again."
        )
    return finished


def check_append(
    out: Path, request: Request, files: Sequence[SourceFile], tasks: Sequence[Task], options: PrepareOptions
) -> bool:
    """Tells whether an append is in a dataset already; refuses one that can't be, or go on.

    Raises:
        ValueError: The dataset is of another kind of rows or tokenizer, or another append was begun.
        FileNotFoundError: There is no finished dataset.
    """
    card = DatasetCard.load(out)
    if changes := unlike(MadeOf.part(card, 0), request):
        raise ValueError(
            f"{out} can't be appended to: {'; '.join(changes)}. An append has the dataset's own row length, "
            "tokenizer and shards: give the same options, or another --out without --append."
        )
    parts = range(len(card.parts))
    if any(not _since_part(card, number, request, files, options) for number in parts):
        return True
    if changes := _since_begun(out / APPEND_DIR, request, files, tasks):
        raise ValueError(
            f"{out} holds an unfinished append of something else: {'; '.join(changes)}. Finish that one "
            f"first, or give it up by removing {out / APPEND_DIR}."
        )
    return False


def _since_part(
    card: DatasetCard, number: int, request: Request, files: Sequence[SourceFile], options: PrepareOptions
) -> list[str]:
    """Returns what is not as it was when a part of a finished dataset was made.

    Package versions don't matter then: a finished dataset stays what it is when packages are upgraded.
    """
    made_of = MadeOf.part(card, number)
    changes = differences(made_of, request, with_versions=False)
    return changes or since_card(made_of.sources, files, options)


def _since_begun(
    work: Path, request: Request, files: Sequence[SourceFile], tasks: Sequence[Task]
) -> list[str]:
    """Returns what is not as it was when unfinished work was begun; nothing if there is none."""
    kept = work / REQUEST_FILE
    if not kept.exists():
        return []
    before = Request.load(kept)
    # Half of a dataset must not be made by each version of a package.
    changes = differences(before, request, with_versions=True)
    return changes or since_request(before.sources, files, _finished_tasks(work, tasks))


def _finished_tasks(work: Path, tasks: Sequence[Task]) -> Iterator[tuple[Task, Segment]]:
    for task in tasks:
        with contextlib.suppress(FileNotFoundError, ValidationError):
            yield task, load_segment(segment_stem(work, task.index))


def sweep(out: Path) -> None:
    """Removes what interrupted writes left aside."""
    for folder in (out, *(path for path in out.iterdir() if path.is_dir())):
        for path in folder.glob("*.tmp"):
            path.unlink(missing_ok=True)  # A worker of a killed run may just be ending.


def abandon(out: Path, work: Path, keep_finished_tasks: bool) -> None:
    """Removes the work of a preparation that failed, unless there are finished tasks worth keeping."""
    if keep_finished_tasks and any(work.glob("task-*.done")):
        return
    shutil.rmtree(work, ignore_errors=True)
    if out.is_dir() and not os.listdir(out):
        out.rmdir()
