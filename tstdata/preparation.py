"""`prepare`: a corpus to a bag-shard dataset, in tasks that an interrupted run need not repeat."""

import dataclasses
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .card import FORMAT_VERSION, DatasetCard, Recipe, Source, sha256_of
from .commit import file_sha256
from .merging import copy_tokenizer, count_by_source, hash_files, write_documents, write_shards
from .output import WORK_DIR, abandon, begin, check_output, sweep
from .pool import EncoderSpec, run_tasks
from .progress import Progress
from .request import Request, SourceIdentity, package_versions
from .segments import Segment, TokenStream, find_segment, segment_stem
from .shards import DEFAULT_SIZE_LIMIT, HASHES, ShardLayout
from .sources import SourceFile, find_sources
from .tasks import EncodeJob, cut_tasks
from .tokenizer import LoadedTokenizer, load_tokenizer


@dataclass(frozen=True)
class PrepareReport:
    """What a preparation did, or with `dry_run` (then `card` is None) would do."""

    out: Path
    files: tuple[SourceFile, ...]
    num_tasks: int
    dtype: str
    eos_token: str
    eos_id: int
    card: DatasetCard | None = None
    already_done: bool = False

    @property
    def num_bytes(self) -> int:
        """Bytes of the source files."""
        return sum(file.size for file in self.files)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the shards on the disk."""
        return sum(path.stat().st_size for path in self.out.glob("shard.*.mds*"))


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

    An interrupted run goes on when called again the same way; the bytes are the same for any number of
    workers and interruptions. A finished dataset asked for again is left as it is.

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
        ValueError: Bad input, naming file and place; or `out` was begun with another recipe, tokenizer or
            source, naming what changed.
        OSError: A file is missing, `out` is in use for something else, or a worker died.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; give --workers 1 or more.")
    out = Path(out)
    loaded = load_tokenizer(tokenizer, eos_token, bos)
    layout = ShardLayout(seq_len, loaded.dtype, compression, size_limit)
    layout.check()
    files = tuple(find_sources(sources, source_format))
    identity = loaded.identity
    report = PrepareReport(
        out, files, len(cut_tasks(files)), loaded.dtype, identity.eos_token, identity.eos_id
    )
    check_output(out)
    if dry_run:
        return report
    request = Request(
        recipe=Recipe(
            seq_len=seq_len,
            text_key=text_key,
            source_format=source_format,
            eos_token=identity.eos_token,
            bos_token=identity.bos_token,
            compression=compression,
            hashes=HASHES,
            size_limit=size_limit,
        ),
        tokenizer=identity,
        sources=_identify(files, progress),
        versions=package_versions(),
    )
    already_done = begin(out, request)
    if not already_done:
        run = _Preparation(out, request, files, loaded, layout, os.fspath(tokenizer), workers, progress)
        run.encode()
        run.merge()
    shutil.rmtree(out / WORK_DIR, ignore_errors=True)
    return dataclasses.replace(report, card=DatasetCard.load(out), already_done=already_done)


def _identify(files: Sequence[SourceFile], progress: bool) -> tuple[SourceIdentity, ...]:
    """Hashes all source files."""
    with Progress("hashing", sum(file.size for file in files), progress) as bar:
        return tuple(
            SourceIdentity(
                path=file.path, format=file.format, size=file.size, sha256=file_sha256(file.path, bar.advance)
            )
            for file in files
        )


@dataclass(frozen=True)
class _Preparation:
    """The two steps of a preparation that was begun."""

    out: Path
    request: Request
    files: Sequence[SourceFile]
    loaded: LoadedTokenizer
    layout: ShardLayout
    tokenizer: str
    workers: int
    progress: bool

    def encode(self) -> None:
        """Runs the tasks that have no committed segment yet."""
        work, identity = self.out / WORK_DIR, self.loaded.identity
        job = EncodeJob(
            work=work,
            text_key=self.request.recipe.text_key,
            eos_token=identity.eos_token,
            eos_id=identity.eos_id,
            bos_id=identity.bos_id,
            dtype=self.loaded.dtype,
        )
        missing = [
            task
            for task in cut_tasks(self.files)
            if find_segment(segment_stem(work, task.index), job.dtype) is None
        ]
        num_bytes = sum(file.size for task in missing for file in task.files)
        encoder = EncoderSpec(self.tokenizer, identity)
        try:
            with Progress("encoding", num_bytes, self.progress) as bar:
                run_tasks(missing, job, encoder, self.workers, bar.advance)
        except Exception:
            abandon(self.out, keep_finished_tasks=True)
            raise

    def merge(self) -> None:
        """Writes the dataset from the committed segments; its card last."""
        segments = self._segments()
        stream = TokenStream(segments, self.loaded.dtype)
        if len(stream) < self.layout.seq_len:
            abandon(self.out, keep_finished_tasks=False)
            raise ValueError(
                f"the sources hold {len(stream)} tokens in all, less than one row of seq_len "
                f"{self.layout.seq_len}. Give a smaller --seq-len or more text."
            )
        sweep(self.out)
        item_bytes = self.layout.row_bytes // self.layout.seq_len
        with Progress("writing", len(stream) * item_bytes, self.progress) as bar:
            num_shards = write_shards(
                self.out, stream, self.layout, self.workers, lambda n: bar.advance(n * item_bytes, n)
            )
        write_documents(self.out, segments, [file.path for file in self.files])
        copy_tokenizer(self.out, self.loaded)
        self._card(segments, stream, num_shards).save(self.out)

    def _segments(self) -> list[Segment]:
        stems = [segment_stem(self.out / WORK_DIR, task.index) for task in cut_tasks(self.files)]
        found = [find_segment(stem, self.loaded.dtype) for stem in stems]
        segments = [segment for segment in found if segment is not None]
        assert len(segments) == len(stems)
        return segments

    def _card(self, segments: Sequence[Segment], stream: TokenStream, num_shards: int) -> DatasetCard:
        num_rows, left = divmod(len(stream), self.layout.seq_len)
        num_documents, num_tokens = count_by_source(segments, len(self.files))
        sources = zip(self.request.sources, num_documents, num_tokens, strict=True)
        return DatasetCard(
            format_version=FORMAT_VERSION,
            recipe=self.request.recipe,
            recipe_sha256=sha256_of(self.request.recipe.model_dump(mode="json")),
            tokenizer=self.loaded.identity,
            seq_len=self.layout.seq_len,
            dtype=self.layout.dtype,
            num_documents=sum(num_documents),
            num_tokens=len(stream),
            num_rows=num_rows,
            num_shards=num_shards,
            leftover=tuple(stream.read(len(stream) - left, len(stream)).tolist()),
            sources=tuple(
                Source(**source.model_dump(), num_documents=documents, num_tokens=tokens)
                for source, documents, tokens in sources
            ),
            files=hash_files(self.out),
            versions=self.request.versions,
        )
