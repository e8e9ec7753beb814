"""The output directory: whose it is, what it holds, and what is left of it when a preparation fails."""

import os
import shutil
from pathlib import Path

from .card import CARD_FILE, DatasetCard
from .commit import commit_bytes
from .request import Request, differences, unlike

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
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; --out names the dataset's directory. Give another --out.")
    ours = (out / CARD_FILE).exists() or (out / WORK_DIR).exists()
    if out.is_dir() and not ours and (names := sorted(os.listdir(out))):
        raise FileExistsError(
            f"{out} is not empty (it has {', '.join(names[:3])}) and no preparation began it. Give another "
            "--out, or empty it first."
        )


def begin(out: Path, request: Request) -> bool:
    """Begins a preparation or joins one that was interrupted; returns whether it is finished already.

    Raises:
        ValueError: The output is, or was begun as, another dataset.
    """
    finished = (out / CARD_FILE).exists()
    kept = out / WORK_DIR / REQUEST_FILE
    if finished:
        before = Request.of_part(DatasetCard.load(out), 0)
    elif kept.exists():
        before = Request.load(kept)
    else:
        kept.parent.mkdir(parents=True, exist_ok=True)
        commit_bytes(kept, request.to_bytes())
        return False
    # A finished dataset stays what it is when packages are upgraded; half of one must not be made by each
    # version.
    changes = differences(before, request, with_versions=not finished)
    if changes:
        state = "holds a finished dataset" if finished else "holds unfinished work"
        raise ValueError(
            f"{out} {state} of another recipe, tokenizer or source: {'; '.join(changes)}. Give another "
            "--out, or remove it to start again."
        )
    return finished


def begin_append(out: Path, request: Request) -> bool:
    """Begins an append to a finished dataset or joins one that was interrupted; True if it is in it already.

    Raises:
        ValueError: The dataset is of another kind of rows or tokenizer, or another append was begun.
        FileNotFoundError: There is no finished dataset.
    """
    card = DatasetCard.load(out)
    if changes := unlike(Request.of_part(card, 0), request):
        raise ValueError(
            f"{out} can't be appended to: {'; '.join(changes)}. An append has the dataset's own row length, "
            "tokenizer and shards: give the same options, or another --out without --append."
        )
    parts = [Request.of_part(card, number) for number in range(len(card.parts))]
    if any(not differences(part, request, with_versions=False) for part in parts):
        return True
    kept = out / APPEND_DIR / REQUEST_FILE
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        commit_bytes(kept, request.to_bytes())
    elif changes := differences(Request.load(kept), request, with_versions=True):
        raise ValueError(
            f"{out} holds an unfinished append of something else: {'; '.join(changes)}. Finish that one "
            f"first, or give it up by removing {out / APPEND_DIR}."
        )
    return False


def sweep(out: Path) -> None:
    """Removes what interrupted writes left aside."""
    for folder in (out, *(path for path in out.iterdir() if path.is_dir())):
        for path in folder.glob("*.tmp"):
            path.unlink()


def abandon(out: Path, work: Path, keep_finished_tasks: bool) -> None:
    """Removes the work of a preparation that failed, unless there are finished tasks worth keeping."""
    if keep_finished_tasks and any(work.glob("task-*.json")):
        return
    shutil.rmtree(work, ignore_errors=True)
    if out.is_dir() and not os.listdir(out):
        out.rmdir()
