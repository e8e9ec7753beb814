"""`prepare`: a corpus to a bag-shard dataset, in tasks that an interrupted run need not repeat."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .card import CARD_FILE, FORMAT_VERSION, DatasetCard, Recipe, Source, sha256_of
from .commit import commit_bytes, file_sha256
from .merging import copy_tokenizer, count_by_source, hash_files, write_documents, write_shards
from .pool import EncoderSpec, run_tasks
from .progress import Progress
from .request import Request, SourceIdentity, differences, package_versions
from .segments import TokenStream, find_segment, segment_stem
from .shards import DEFAULT_SIZE_LIMIT, HASHES, ShardLayout
from .sources import SourceFile, find_sources
from .tasks import EncodeJob, cut_tasks
from .tokenizer import LoadedTokenizer, load_tokenizer

# Where unfinished work is kept inside the output; gone when the dataset is finished.
WORK_DIR = ".prepare"
REQUEST_FILE = "request.json"


@dataclass(frozen=True)
class PrepareReport:
    """What a preparation did, or with `dry_run` (then `card` is None) would do."""

    out: Path
    files: tuple[SourceFile, ...]
    num_tasks: int
    dtype: str
    card: DatasetCard | None = None
    already_done: bool = False

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
    eos_token: str | None = None,
    bos: bool = False,
    compression: str | None = None,
    size_limit: int = DEFAULT_SIZE_LIMIT,
    workers: int = 1,
    dry_run: bool = False,
    progress: bool = False,
) -> PrepareReport:
    """Tokenises a corpus into a bag-shard dataset at `out`.

    An interrupted run goes on when called again the same way; the bytes are the same for any number of workers and
    interruptions. A finished dataset asked for again is left as it is.

    Args:
        sources: Files, directories and globs, read in this order.
        out: Directory to make; new, empty, or one that an equal call left unfinished.
        tokenizer: Hugging Face tokenizer directory or `tokenizer.json`.
        seq_len: L, tokens in a row.
        text_key: Key or column of the text in jsonl and parquet files.
        source_format: `jsonl`, `parquet` or `text` for all files; None: by each file's extension.
        eos_token: End-of-text token; None: the one that the tokenizer's config names.
        bos: Puts the tokenizer's begin-of-text before every document.
        compression: None, `zstd` or `zstd:LEVEL`.
        size_limit: Largest size of a shard in bytes, before compression.
        workers: Processes that encode.
        dry_run: Checks everything that can be checked without reading the corpus, and writes nothing.
        progress: Shows a bar on standard error.

    Raises:
        ValueError: Bad input, naming file and place; or `out` was begun with another recipe, tokenizer or source.
        OSError: A file is missing, `out` is in use for something else, or a worker died.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; give --workers 1 or more.")
    out = Path(out)
    loaded = load_tokenizer(tokenizer, eos_token, bos)
    layout = ShardLayout(seq_len, loaded.dtype, compression, size_limit)
    layout.check()
    given = [sources] if isinstance(sources, str | os.PathLike) else sources
    files = find_sources(given, source_format)
    report = PrepareReport(out, tuple(files), len(cut_tasks(files)), loaded.dtype)
    _check_output(out)
    if dry_run:
        return report
    identity = loaded.identity
    recipe = Recipe(
        seq_len=seq_len,
        text_key=text_key,
        source_format=source_format,
        eos_token=identity.eos_token,
        bos_token=identity.bos_token,
        compression=compression,
        hashes=HASHES,
        size_limit=size_limit,
    )
    request = Request(
        recipe=recipe, tokenizer=identity, sources=_identify(files, progress), versions=package_versions()
    )
    already_done = _is_finished(out, request)
    if not already_done:
        _encode(out, request, files, loaded, os.fspath(tokenizer), workers, progress)
        _merge(out, request, files, loaded, layout, workers, progress)
    shutil.rmtree(out / WORK_DIR, ignore_errors=True)
    return PrepareReport(
        out, report.files, report.num_tasks, report.dtype, DatasetCard.load(out), already_done
    )


def _check_output(out: Path) -> None:
    """Refuses an output that holds what no preparation put there."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; --out names the dataset's directory. Give another --out.")
    ours = (out / CARD_FILE).exists() or (out / WORK_DIR / REQUEST_FILE).exists()
    if out.is_dir() and not ours and (names := sorted(os.listdir(out))):
        raise FileExistsError(
            f"{out} is not empty ({', '.join(names[:3])}, ...) and is no dataset that a preparation began. "
            "Give another --out, or empty it first."
        )


def _identify(files: Sequence[SourceFile], progress: bool) -> tuple[SourceIdentity, ...]:
    """Hashes all source files."""
    with Progress("hashing", sum(file.size for file in files), progress) as bar:
        return tuple(
            SourceIdentity(
                path=file.path, format=file.format, size=file.size, sha256=file_sha256(file.path, bar.advance)
            )
            for file in files
        )


def _is_finished(out: Path, request: Request) -> bool:
    """Tells whether the output holds this very dataset; begins or joins unfinished work otherwise.

    Raises:
        ValueError: The output is, or was begun as, another dataset.
    """
    finished = (out / CARD_FILE).exists()
    kept = out / WORK_DIR / REQUEST_FILE
    if finished:
        before = Request.of_card(DatasetCard.load(out))
    elif kept.exists():
        before = Request.load(kept)
    else:
        kept.parent.mkdir(parents=True, exist_ok=True)
        commit_bytes(kept, request.to_bytes())
        return False
    changes = differences(before, request, with_versions=not finished)
    if changes:
        state = "holds a finished dataset" if finished else "holds unfinished work"
        raise ValueError(
            f"{out} {state} of another recipe, tokenizer or source: {'; '.join(changes)}. Give another --out, or "
            "remove it to start again."
        )
    return finished


def _encode(
    out: Path,
    request: Request,
    files: Sequence[SourceFile],
    loaded: LoadedTokenizer,
    tokenizer: str,
    workers: int,
    progress: bool,
) -> None:
    """Runs the tasks that have no committed segment yet."""
    work = out / WORK_DIR
    identity = loaded.identity
    job = EncodeJob(
        work, request.recipe.text_key, identity.eos_token, identity.eos_id, identity.bos_id, loaded.dtype
    )
    tasks = cut_tasks(files)
    missing = [task for task in tasks if find_segment(segment_stem(work, task.index), loaded.dtype) is None]
    num_bytes = sum(file.size for task in missing for file in task.files)
    with Progress("encoding", num_bytes, progress) as bar:
        run_tasks(missing, job, EncoderSpec(tokenizer, identity), workers, bar.advance)


def _merge(
    out: Path,
    request: Request,
    files: Sequence[SourceFile],
    loaded: LoadedTokenizer,
    layout: ShardLayout,
    workers: int,
    progress: bool,
) -> None:
    """Writes the dataset from the committed segments; its card last."""
    stems = [segment_stem(out / WORK_DIR, task.index) for task in cut_tasks(files)]
    found = [find_segment(stem, loaded.dtype) for stem in stems]
    segments = [segment for segment in found if segment is not None]
    assert len(segments) == len(stems)
    stream = TokenStream(segments, loaded.dtype)
    num_rows, left = divmod(len(stream), layout.seq_len)
    if not num_rows:
        raise ValueError(
            f"the sources hold {len(stream)} tokens in all, which is less than one row of seq_len {layout.seq_len}. "
            "Give a smaller --seq-len or more text."
        )
    with Progress("writing", num_rows * layout.row_bytes, progress) as bar:
        item_bytes = layout.row_bytes // layout.seq_len
        num_shards = write_shards(out, stream, layout, workers, lambda n: bar.advance(n * item_bytes, n))
    write_documents(out, segments, [file.path for file in files])
    copy_tokenizer(out, loaded.files)
    num_documents, num_tokens = count_by_source(segments, len(files))
    DatasetCard(
        format_version=FORMAT_VERSION,
        recipe=request.recipe,
        recipe_sha256=sha256_of(request.recipe.model_dump(mode="json")),
        tokenizer=loaded.identity,
        seq_len=layout.seq_len,
        dtype=layout.dtype,
        num_documents=sum(num_documents),
        num_tokens=len(stream),
        num_rows=num_rows,
        num_shards=num_shards,
        leftover=tuple(stream.read(len(stream) - left, len(stream)).tolist()),
        sources=tuple(
            Source(**source.model_dump(), num_documents=documents, num_tokens=tokens)
            for source, documents, tokens in zip(request.sources, num_documents, num_tokens, strict=True)
        ),
        files=hash_files(out),
        versions=request.versions,
    ).save(out)
