"""`prepare`: a corpus to a bag-shard dataset, in tasks that an interrupted run need not repeat."""

import dataclasses
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .building import Building, unfinished_dir
from .card import DatasetCard, Recipe
from .dataset_files import DatasetFiles
from .engine import EncoderSpec, Engine, InProcess
from .estimate import Estimate, estimate
from .file_systems import is_uri, join
from .lock import hold
from .long_documents import DEFAULT_MAX_WHOLE
from .options import PrepareOptions
from .output import begin, begin_append, check_output
from .pool import WorkerPool
from .remote_output import RemoteOutput
from .request import KeptSource, Request, package_versions
from .selection import TRAIN, VAL
from .shard_reading import read_index
from .shards import DEFAULT_SIZE_LIMIT, HASHES, ShardLayout
from .source_file import SourceFile
from .sources import find_sources
from .tasks import Task, cut_tasks, sample_texts
from .tokenizer import LoadedTokenizer

# What of the corpus the fast encoder must get right before it is used.
_SAMPLE_TASKS, _SAMPLE_CHARACTERS = 16, 4096


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


def prepare(
    sources: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    tokenizer: str | os.PathLike[str],
    seq_len: int,
    *,
    text_key: str = "text",
    source_format: str | None = None,
    split: str | None = None,
    eos_token: str | None = None,
    bos: bool = False,
    min_chars: int = 0,
    limit: int | None = None,
    holdout: float | None = None,
    on_error: str = "fail",
    append: bool = False,
    compression: str | None = None,
    size_limit: int = DEFAULT_SIZE_LIMIT,
    max_whole: int = DEFAULT_MAX_WHOLE,
    encoder: str = "auto",
    work_dir: str | os.PathLike[str] | None = None,
    workers: int = 1,
    dry_run: bool = False,
    progress: bool = False,
) -> PrepareReport:
    """Tokenises a corpus into a bag-shard dataset at `out`.

    An interrupted run goes on when called again the same way; the bytes are the same for any number of
    workers and interruptions. A finished dataset asked for again is left as it is.

    Args:
        sources: Files, directories, globs and URIs, read in this order; PATH::KEY for a text key of its own.
        out: Directory to make, or the URI of a prefix in a store; new, empty, or one that an equal call left
            unfinished.
        tokenizer: Hugging Face tokenizer directory or `tokenizer.json`.
        seq_len: L, tokens in a row.
        text_key: Key or column of the text where a format has keys.
        source_format: One of `formats.FORMATS` for all files; None: by each file's extension.
        split: Cuts text files into documents: `blank-lines`, or the marker between them.
        eos_token: End-of-text token; None: the one that the tokenizer's config names.
        bos: Puts the tokenizer's begin-of-text before every document.
        min_chars: Leaves out documents of fewer characters; the card counts them.
        limit: Takes the first so many documents.
        holdout: Share of documents, by hash of the text, to hold out: makes `out`/train and `out`/val.
        on_error: What to do with bad input: "fail", or "skip" it and list it in `rejects.jsonl`.
        append: Adds the sources to the finished dataset at `out`, as new shards; the old ones stay.
        compression: None, `zstd` or `zstd:LEVEL`.
        size_limit: Largest size of a shard in bytes, before compression.
        max_whole: Characters of the longest text that is encoded whole where it can't be cut: see
            `long_documents`.
        encoder: `auto`, `reference` or `fast`: see `choose_encoder`. The shards' bytes do not depend on it.
        work_dir: Where a dataset for a store is made before it is uploaded, in a directory of its own. None:
            `tst-prepare` in the system's directory for temporary files.
        workers: Processes that encode.
        dry_run: Checks all that can be checked before, estimates the rest from a sample, and writes nothing.
        progress: Shows a bar on standard error.

    Raises:
        ValueError: Bad input, naming file and place; or `out` was begun with another recipe, tokenizer or
            source, naming what changed.
        OSError: A file is missing, `out` is in use for something else, or a worker died.
    """
    options = PrepareOptions(
        seq_len=seq_len,
        text_key=text_key,
        source_format=source_format,
        split=split,
        eos_token=eos_token,
        bos=bos,
        min_chars=min_chars,
        limit=limit,
        holdout=holdout,
        on_error=on_error,
        compression=compression,
        size_limit=size_limit,
        max_whole=max_whole,
        encoder=encoder,
        workers=workers,
        progress=progress,
    )
    options.check()
    files = tuple(find_sources(sources, source_format, text_key, split))
    tasks = cut_tasks(files)
    sample = tuple(sample_texts(tasks, _SAMPLE_TASKS, _SAMPLE_CHARACTERS))
    spec = EncoderSpec(os.fspath(tokenizer), eos_token, bos, encoder, sample)
    scratch = Path(work_dir) if work_dir is not None else None
    # Workers begin to load the tokenizer while this process does.
    several = min(workers, len(tasks)) > 1 and not dry_run
    with WorkerPool(min(workers, len(tasks)), spec) if several else InProcess(spec) as engine:
        run = _Run(files, tasks, spec, spec.load(), engine, append, dry_run, scratch)
        if holdout is None:
            return run.make(os.fspath(out), options)
        # Two datasets, each as if the corpus held no other documents; read twice, because encoding is what
        # costs.
        train, val = (
            run.make(join(os.fspath(out), part), dataclasses.replace(options, part=part))
            for part in (TRAIN, VAL)
        )
    return dataclasses.replace(train, val=val)


@dataclass
class _Run:
    """What the parts of one call have in common."""

    files: tuple[SourceFile, ...]
    tasks: Sequence[Task]
    spec: EncoderSpec
    loaded: LoadedTokenizer
    engine: Engine
    append: bool
    dry_run: bool
    work_dir: Path | None

    def make(self, out: str, options: PrepareOptions) -> PrepareReport:
        """Makes one dataset."""
        layout = ShardLayout(options.seq_len, self.loaded.dtype, options.compression, options.size_limit)
        layout.check()
        identity = self.loaded.identity
        report = PrepareReport(
            out, self.files, len(self.tasks), layout.dtype, identity.eos_token, identity.eos_id
        )
        if not is_uri(out):
            check_output(Path(out))
        if self.dry_run:
            encoder, _ = self.spec.choose(self.loaded)
            return dataclasses.replace(report, estimate=estimate(self.files, encoder, layout, options))
        request = self._request(options)
        remote = RemoteOutput(out, self.work_dir) if is_uri(out) else None
        if remote is not None:
            remote.begin(request)
        local = remote.local if remote else Path(out)
        already_done = self._build(local, request, layout, options)
        card, entries = DatasetCard.load(local), read_index(DatasetFiles(local))
        if remote is not None:
            remote.finish(request, options.progress)
        if card.num_rejected and options.on_error == "fail":
            raise ValueError(
                f"{out} is finished and left out {card.num_rejected} documents (see its rejects.jsonl). "
                "Accept that with --on-error skip, or give another --out."
            )
        stored = sum((entry["zip_data"] or entry["raw_data"])["bytes"] for entry in entries)
        return dataclasses.replace(report, card=card, already_done=already_done, stored_bytes=stored)

    def _build(self, out: Path, request: Request, layout: ShardLayout, options: PrepareOptions) -> bool:
        """Makes one dataset in a directory; returns whether it was there already."""
        base = DatasetCard.load(out) if self.append else None
        work = unfinished_dir(out, base)
        with hold(work):
            start = begin_append if self.append else begin
            already_done = start(out, request, self.files, self.tasks, options)
            if not already_done:
                building = Building(out, request, self.files, self.tasks, self.loaded, layout, options, base)
                building.run(self.engine)
            shutil.rmtree(work, ignore_errors=True)
        return already_done

    def _request(self, options: PrepareOptions) -> Request:
        identity = self.loaded.identity
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
