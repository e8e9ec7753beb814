"""Remote output: a dataset is made in a local scratch directory and moved to the store, its card last."""

import hashlib
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
from pydantic import ValidationError

from .card import CARD_FILE, DatasetCard
from .dataset_files import DatasetFiles
from .file_systems import write_file
from .output import APPEND_DIR, WORK_DIR
from .progress import Progress
from .request import MadeOf, Request, differences
from .shards import INDEX_FILE
from .source_changes import listed_otherwise

# The field of an `index.json` that is none: until the dataset is finished it tells what is being made there,
# and no reader of shards takes it for an index. Nothing need be deleted at the end: it is overwritten.
_CLAIM = "unfinished preparation"
# In the scratch directory, the names of the files that the store has whole: one of the right size may be
# another's.
_JOURNAL = ".uploaded"
_UPLOADS_AT_ONCE = 8


def default_work_dir() -> Path:
    """Returns where scratch directories are unless told: a re-run must find them."""
    return Path(tempfile.gettempdir()) / "tst-prepare"


def _changes(claim: Request | MadeOf, request: Request) -> list[str]:
    changes = differences(claim, request, with_versions=isinstance(claim, Request))
    return changes or listed_otherwise(claim.sources, request.sources)


class RemoteOutput:
    """One dataset in a store, and the scratch directory that is its local stand-in."""

    def __init__(self, uri: str, work_dir: Path | None) -> None:
        self.files = DatasetFiles(uri)
        name = self.files.root.rpartition("/")[2]
        key = hashlib.sha256(self.files.root.encode()).hexdigest()[:16]
        self.local = (work_dir or default_work_dir()) / f"{name}-{key}"

    def begin(self, request: Request) -> None:
        """Brings the scratch directory up to what the store has; it is not written to before `finish`.

        Raises:
            FileExistsError: The store has something else there.
            ValueError: The store has unfinished work of something else there.
        """
        if self.is_ahead(request):
            shutil.rmtree(self.local, ignore_errors=True)
            self.fetch(self.local)

    def is_ahead(self, request: Request) -> bool:
        """Tells whether the store has a dataset that the scratch directory does not go on from.

        The latter may have an append that was not uploaded yet. Nothing is written; raises what `begin` does.
        """
        if self.files.exists(CARD_FILE):
            there = DatasetCard.from_bytes(self.files.read(CARD_FILE), self.files.path(CARD_FILE))
            if not (self.local / CARD_FILE).exists():
                return True
            here = DatasetCard.load(self.local)
            # Parts of as many documents and tokens may be of other sources.
            return not (
                here.parts[: len(there.parts)] == there.parts
                and here.sources[: len(there.sources)] == there.sources
                and here.tokenizer == there.tokenizer
            )
        names = self.files.sizes()
        claim = self._claim() if INDEX_FILE in names else None
        if names and claim is None:
            raise FileExistsError(
                f"{self.files} is not empty (it has {', '.join(sorted(names)[:3])}) and no preparation began "
                "it. Give another --out, or empty it first."
            )
        changes = _changes(claim, request) if claim is not None else []
        if changes:
            raise ValueError(
                f"{self.files} holds unfinished work of another recipe, tokenizer or source: "
                f"{'; '.join(changes)}. Give another --out, or remove it to start again."
            )
        return False

    def fetch(self, folder: Path) -> None:
        """Fetches the dataset's card and index."""
        folder.mkdir(parents=True, exist_ok=True)
        self.files.copy_to(folder, [INDEX_FILE, CARD_FILE])

    def _claim(self) -> Request | MadeOf | None:
        """Returns what is being made in the store, by its index; None if that is no work of ours."""
        data = self.files.read(INDEX_FILE)
        kept = self.local / CARD_FILE
        if kept.exists() and data == self._read(INDEX_FILE):  # Only the card was not uploaded any more.
            return MadeOf.part(DatasetCard.load(self.local), 0)
        try:
            return Request.model_validate(orjson.loads(data)[_CLAIM])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValidationError):
            return None

    def finish(self, request: Request, progress: bool) -> None:
        """Uploads what the store has not, index and card last, and removes the scratch directory.

        For a new dataset a first file claims the place.

        Raises:
            OSError: The store refuses, or has not kept what it was given.
        """
        last = [INDEX_FILE, CARD_FILE]
        hidden = (WORK_DIR, APPEND_DIR, _JOURNAL)
        paths = (path for path in self.local.rglob("*") if path.is_file())
        names = sorted(path.relative_to(self.local).as_posix() for path in paths)
        names = [name for name in names if name not in last and not name.startswith(hidden)]
        is_new = not self.files.exists(CARD_FILE)
        if is_new:
            claim = {_CLAIM: request.model_dump(mode="json")}
            write_file(self.files.path(INDEX_FILE), orjson.dumps(claim))
        if is_new or self.files.read(CARD_FILE) != self._read(CARD_FILE):
            self._upload(names, progress)
            for name in last:
                write_file(self.files.path(name), self._read(name))
        shutil.rmtree(self.local)

    def _read(self, name: str) -> bytes:
        return (self.local / name).read_bytes()

    def _upload(self, names: list[str], progress: bool) -> None:
        sizes = {name: (self.local / name).stat().st_size for name in names}
        journal = self.local / _JOURNAL
        done = set(journal.read_text("utf-8").splitlines()) if journal.exists() else set()
        there = self.files.sizes()
        missing = [name for name in names if name not in done or there.get(name) != sizes[name]]
        with (
            Progress("uploading", sum(sizes[name] for name in missing), progress) as bar,
            open(journal, "a", encoding="utf-8") as log,
            ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool,
        ):
            # In order of the list: what is noted is there, and so is all before it.
            for name in pool.map(self._upload_one, missing):
                log.write(f"{name}\n")
                log.flush()
                bar.advance(sizes[name])
        there = self.files.sizes()
        wrong = [name for name in names if there.get(name) != sizes[name]]
        if wrong:
            raise OSError(
                f"{self.files.path(wrong[0])} has {there.get(wrong[0])} bytes in the store and "
                f"{sizes[wrong[0]]} here: run the same command again to upload it again."
            )

    def _upload_one(self, name: str) -> str:
        with open(self.local / name, "rb") as file:
            write_file(self.files.path(name), file)
        return name
