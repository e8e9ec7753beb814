"""Making: one dataset of a call of `prepare`, or two with a holdout; in a directory, or for a store."""

import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .building import Building, unfinished_dir
from .card import CARD_FILE, DatasetCard, Recipe
from .dataset_files import DatasetFiles
from .encoder import Encoder
from .engine import Engine
from .estimate import Estimate, estimate
from .file_systems import is_uri
from .lock import hold
from .options import PrepareOptions
from .output import check_append, check_begin, check_output, keep_request
from .remote_output import RemoteOutput
from .request import KeptSource, Request, package_versions, rejected_of
from .shard_reading import read_index
from .shards import HASHES, ShardLayout
from .source_file import SourceFile
from .tasks import Task
from .tokenizer import KnownTokenizer


@dataclass(frozen=True)
class PrepareReport:
    """What a preparation did, or with `dry_run` would do: then `card` is None, and `estimate` is not.

    `stored_bytes` are those of the shards as they are kept; `val` is the report of the held-out part.
    """

    out: str
    files: tuple[SourceFile, ...]
    num_tasks: int
    dtype: str
    eos_token: str
    eos_id: int
    card: DatasetCard | None = None
    estimate: Estimate | None = None
    already_done: bool = False
    stored_bytes: int = 0
    val: "PrepareReport | None" = None

    @property
    def num_bytes(self) -> int:
        """Bytes of the source files."""
        return sum(file.size for file in self.files)


@dataclass
class Making:
    """What the datasets of one call have in common: one, or the two of a holdout.

    With a `trial`, the encoder to try a sample with, nothing is made but an estimate.
    """

    files: tuple[SourceFile, ...]
    tasks: Sequence[Task]
    tokenizer: KnownTokenizer
    engine: Engine
    append: bool
    trial: Encoder | None
    work_dir: Path | None

    def make(self, out: str, options: PrepareOptions) -> PrepareReport:
        """Makes one dataset."""
        layout = ShardLayout(options.seq_len, self.tokenizer.dtype, options.compression, options.size_limit)
        layout.check()
        identity = self.tokenizer.identity
        report = PrepareReport(
            out, self.files, len(self.tasks), layout.dtype, identity.eos_token, identity.eos_id
        )
        if not is_uri(out):
            check_output(Path(out))
        request = self._request(options)
        if self.trial is not None:
            self._check_only(out, request, options)
            return dataclasses.replace(report, estimate=estimate(self.tasks, self.trial, layout, options))
        remote = self._remote(out) if is_uri(out) else None
        if remote is not None:
            remote.begin(request)
        local = remote.local if remote else Path(out)
        already_done = self._build(local, request, layout, options)
        card, entries = DatasetCard.load(local), read_index(DatasetFiles(local))
        if remote is not None:
            remote.finish(request, options.progress)
        rejected = rejected_of(card, request)
        if rejected and options.on_error == "fail":
            raise ValueError(
                f"{out} is finished and left out {rejected} documents of these (see its rejects.jsonl). "
                "Accept that with --on-error skip, or give another --out."
            )
        stored = sum((entry["zip_data"] or entry["raw_data"])["bytes"] for entry in entries)
        return dataclasses.replace(report, card=card, already_done=already_done, stored_bytes=stored)

    def _check(self, out: Path, request: Request, options: PrepareOptions) -> bool:
        """Tells whether the dataset or append is there already; refuses what is, or was begun, otherwise."""
        check = check_append if self.append else check_begin
        return check(out, request, self.files, self.tasks, options)

    def _check_only(self, out: str, request: Request, options: PrepareOptions) -> None:
        """Refuses what making it would, and writes nothing to the output."""
        if not is_uri(out):
            self._check(Path(out), request, options)
            return
        remote = self._remote(out)
        with tempfile.TemporaryDirectory() as folder:
            local = remote.local
            if remote.is_ahead(request):
                local = Path(folder)
                remote.fetch(local)
            self._check(local, request, options)

    def _remote(self, out: str) -> RemoteOutput:
        remote = RemoteOutput(out, self.work_dir)
        if self.append and not (remote.local / CARD_FILE).exists():
            DatasetCard.load(out)  # If there is none, the message names the store, not the scratch directory.
        return remote

    def _build(self, out: Path, request: Request, layout: ShardLayout, options: PrepareOptions) -> bool:
        """Makes one dataset in a directory; returns whether it was there already."""
        base = DatasetCard.load(out) if self.append else None
        work = unfinished_dir(out, base)
        with hold(work):
            already_done = self._check(out, request, options)
            if not already_done:
                keep_request(work, request)
                building = Building(
                    out, request, self.files, self.tasks, self.tokenizer, layout, options, base
                )
                building.run(self.engine)
            shutil.rmtree(work, ignore_errors=True)
        return already_done

    def _request(self, options: PrepareOptions) -> Request:
        identity = self.tokenizer.identity
        recipe = Recipe(
            seq_len=options.seq_len,
            text_key=options.text_key,
            source_format=options.source_format,
            split=options.split,
            min_chars=options.min_chars,
            max_whole=options.max_whole,
            limit=options.limit,
            holdout=options.holdout,
            part=options.part,
            adopt=options.adopt,
            adopt_dtype=options.adopt_dtype,
            eos_token=identity.eos_token,
            bos_token=identity.bos_token,
            compression=options.compression,
            hashes=HASHES,
            size_limit=options.size_limit,
        )
        return Request(
            recipe=recipe,
            tokenizer=identity,
            sources=tuple(map(KeptSource.of, self.files)),
            versions=package_versions(),
        )
