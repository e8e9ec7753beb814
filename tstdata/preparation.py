"""`prepare`: a corpus to a bag-shard dataset, in tasks that an interrupted run need not repeat."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from .adopting import AdoptSpec, adopted_files
from .engine import EncoderSpec, Engine, InProcess
from .file_systems import join, local_path
from .long_documents import DEFAULT_MAX_WHOLE
from .making import Making, PrepareReport
from .options import PrepareOptions
from .output import check_parts
from .pool import WorkerPool
from .ray_engine import RayEngine
from .sample import sample_texts
from .selection import TRAIN, VAL
from .shards import DEFAULT_SIZE_LIMIT
from .source_file import SourceFile
from .sources import find_sources
from .tasks import cut_tasks
from .tokenizer import find_tokenizer


def prepare(
    sources: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    tokenizer: str | os.PathLike[str] | None,
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
    adopt: str | None = None,
    adopt_dtype: str | None = None,
    eos_id: int | None = None,
    vocab_size: int | None = None,
    compression: str | None = None,
    size_limit: int = DEFAULT_SIZE_LIMIT,
    max_whole: int = DEFAULT_MAX_WHOLE,
    encoder: str = "auto",
    work_dir: str | os.PathLike[str] | None = None,
    engine: str = "local",
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
        tokenizer: Path of a tokenizer or its name on the Hugging Face hub: see `load_tokenizer`.
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
        adopt: Takes data that others tokenised as they are: `mds`, `megatron` or `flat`. Then `tokenizer` may
            be None, if `eos_id` and `vocab_size` are stated.
        adopt_dtype: Type of adopted ids where the files do not tell it.
        eos_id: The id that ends each adopted document.
        vocab_size: One more than the largest id there may be in adopted data.
        compression: None, `zstd` or `zstd:LEVEL`.
        size_limit: Largest size of a shard in bytes, before compression.
        max_whole: Characters of the longest text that is encoded whole where it can't be cut: see
            `long_documents`.
        encoder: `auto`, `reference` or `fast`: see `choose_encoder`. The shards' bytes do not depend on it.
        work_dir: Where a dataset for a store is made before it is uploaded, in a directory of its own. None:
            `tst-prepare` in the system's directory for temporary files.
        engine: `local`: this machine. `ray`: a Ray cluster, see `tstdata.ray_engine`.
        workers: Processes that encode here; with Ray, threads that write shards.
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
        adopt=adopt,
        adopt_dtype=adopt_dtype,
        on_error=on_error,
        compression=compression,
        size_limit=size_limit,
        max_whole=max_whole,
        encoder=encoder,
        engine=engine,
        workers=workers,
        progress=progress,
    )
    options.check()
    out = local_path(os.fspath(out))
    if adopt is not None:
        spec, files = _adopt(sources, tokenizer, options, eos_id, vocab_size)
        tasks = cut_tasks(files)
    else:
        if tokenizer is None or eos_id is not None or vocab_size is not None or adopt_dtype is not None:
            raise ValueError("text needs --tokenizer; --eos-id, --vocab-size and --dtype go with --adopt.")
        files = tuple(find_sources(sources, source_format, text_key, split, out))
        tasks = cut_tasks(files)
        spec = EncoderSpec(os.fspath(find_tokenizer(tokenizer)), eos_token, bos, encoder, sample_texts(tasks))
    scratch = Path(work_dir) if work_dir is not None else None
    with _open_engine(spec, options, 1 if dry_run else len(tasks)) as running:
        loaded = spec.load() if dry_run else None
        trial = spec.choose(loaded)[0] if loaded else None
        known = loaded.known if loaded else running.load()
        run = Making(files, tasks, known, running, append, trial, scratch)
        if holdout is None:
            return run.make(out, options)
        check_parts(out)
        # Two datasets, each as if the corpus held no other documents; read twice, because encoding is what
        # costs.
        train, val = (
            run.make(join(out, part), dataclasses.replace(options, part=part)) for part in (TRAIN, VAL)
        )
    return dataclasses.replace(train, val=val)


def _open_engine(spec: EncoderSpec, options: PrepareOptions, num_tasks: int) -> Engine:
    if options.engine == "ray":
        return RayEngine(spec)
    workers = min(options.workers, num_tasks)
    return WorkerPool(workers, spec) if workers > 1 else InProcess(spec)


def _adopt(
    sources: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    tokenizer: str | os.PathLike[str] | None,
    options: PrepareOptions,
    eos_id: int | None,
    vocab_size: int | None,
) -> tuple[EncoderSpec, tuple[SourceFile, ...]]:
    """Returns what stands in for the encoder, and the files to adopt."""
    assert options.adopt is not None
    given = [sources] if isinstance(sources, str | os.PathLike) else sources
    path = "" if tokenizer is None else os.fspath(tokenizer)
    spec = AdoptSpec(path, options.eos_token, False, "reference", (), eos_id, vocab_size)
    names = [os.fspath(source) for source in given]
    return spec, adopted_files(names, options.adopt, options.adopt_dtype, spec.load().identity)
