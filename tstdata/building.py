"""Building: a preparation that was begun, encoded to segments, then merged to a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .card import COUNTS, FORMAT_VERSION, DatasetCard, Part, Source, sha256_of
from .commit import commit_bytes, file_sha256
from .dataset_files import DatasetFiles
from .merging import (
    DOCUMENTS_DIR,
    Numbering,
    copy_tokenizer,
    count_by_source,
    write_documents,
    write_rejects,
    write_shards,
)
from .options import PrepareOptions
from .output import APPEND_DIR, WORK_DIR, abandon, sweep
from .pool import EncoderSpec, run_tasks
from .progress import Progress
from .request import Request
from .segments import Segment, TokenStream, find_segment, first_documents, segment_stem
from .shard_reading import read_index
from .shards import INDEX_FILE, ShardLayout, index_bytes
from .source_file import SourceFile
from .tasks import EncodeJob, Task, cut_tasks
from .tokenizer import LoadedTokenizer


@dataclass(frozen=True)
class Building:
    """What the two steps work on; `base` is the card of the finished dataset that an append goes on from."""

    out: Path
    request: Request
    files: Sequence[SourceFile]
    loaded: LoadedTokenizer
    layout: ShardLayout
    tokenizer: str
    options: PrepareOptions
    base: DatasetCard | None = None

    @property
    def work(self) -> Path:
        """Where the segments are."""
        return self.out / (WORK_DIR if self.base is None else APPEND_DIR)

    def encode(self) -> None:
        """Runs the tasks that have no committed segment yet; with a limit, no more than it takes."""
        identity = self.loaded.identity
        job = EncodeJob(
            work=self.work,
            selection=self.options.selection,
            on_error=self.options.on_error,
            eos_token=identity.eos_token,
            eos_id=identity.eos_id,
            bos_id=identity.bos_id,
            dtype=self.loaded.dtype,
        )
        tasks = cut_tasks(self.files)
        missing = [task for task in tasks if self._segment(task) is None]
        num_bytes = sum(file.size for task in missing for file in task.files)
        encoder = EncoderSpec(self.tokenizer, identity)
        # With a limit some tasks at a time, in order: those behind the last document wanted are not run.
        step = len(tasks) if self.options.limit is None else self.options.workers
        try:
            with Progress("encoding", num_bytes, self.options.progress) as bar:
                for start in range(0, len(missing), max(step, 1)):
                    if not self._is_enough(tasks):
                        part = missing[start : start + step]
                        run_tasks(part, job, encoder, self.options.workers, bar.advance)
        except Exception:
            abandon(self.out, self.work, keep_finished_tasks=True)
            raise

    def merge(self) -> None:
        """Writes what the committed segments add to the dataset; `index.json` and then the card come last."""
        base, segments = self.base, self._segments()
        stream = TokenStream(segments, self.loaded.dtype, base.leftover if base else ())
        if base is None and len(stream) < self.layout.seq_len:
            abandon(self.out, self.work, keep_finished_tasks=False)
            raise ValueError(
                f"the sources hold {len(stream)} tokens in all, less than one row of seq_len "
                f"{self.layout.seq_len}. Give a smaller --seq-len or more text."
            )
        sweep(self.out)
        entries = read_index(DatasetFiles(self.out))[: base.num_shards] if base else []
        entries += self._write_shards(stream, len(entries))
        files = dict(base.files) if base else {}
        first = Numbering(
            file=sum(name.startswith(DOCUMENTS_DIR) for name in files),
            source=len(base.sources) if base else 0,
            token=base.num_tokens if base else 0,
        )
        names = write_documents(self.out, segments, [file.path for file in self.files], first)
        names += write_rejects(self.out, segments, len(base.parts) if base else 0)
        if base is None:
            copy_tokenizer(self.out, self.loaded)
        # Between these two renames the index knows of shards that the card does not: they are not part of the
        # dataset yet, to whoever reads the card.
        commit_bytes(self.out / INDEX_FILE, index_bytes(entries))
        files.update({name: file_sha256(self.out / name) for name in [INDEX_FILE, *names]})
        self._card(segments, stream, len(entries), files).save(self.out)

    def _write_shards(self, stream: TokenStream, first_shard: int) -> list[Any]:
        item_bytes = self.layout.row_bytes // self.layout.seq_len
        with Progress("writing", len(stream) * item_bytes, self.options.progress) as bar:
            return write_shards(
                self.out,
                stream,
                self.layout,
                self.options.workers,
                lambda n: bar.advance(n * item_bytes, n),
                first_shard,
            )

    def _segment(self, task: Task) -> Segment | None:
        """Returns a task's committed segment; not one that left documents out when none may be."""
        found = find_segment(segment_stem(self.work, task.index), self.loaded.dtype)
        if found is not None and found.num_rejected and self.options.on_error == "fail":
            return None
        return found

    def _is_enough(self, tasks: Sequence[Task]) -> bool:
        """Tells whether the tasks done without a gap from the first on hold all documents wanted."""
        left = self.options.limit
        if left is None:
            return False
        for task in tasks:
            segment = self._segment(task)
            if segment is None:
                return False
            left -= segment.num_documents
            if left <= 0:
                return True
        return False

    def _segments(self) -> list[Segment]:
        segments: list[Segment] = []
        for task in cut_tasks(self.files):
            segment = self._segment(task)
            if segment is None:  # With a limit, those behind the last document wanted.
                assert self.options.limit is not None
                break
            segments.append(segment)
        return first_documents(segments, self.options.limit)

    def _card(
        self, segments: Sequence[Segment], stream: TokenStream, num_shards: int, files: dict[str, str]
    ) -> DatasetCard:
        num_rows, left = divmod(len(stream), self.layout.seq_len)
        num_documents, num_tokens = count_by_source(segments, len(self.files))
        before = self.base.parts if self.base else ()
        part = Part(
            recipe=self.request.recipe,
            num_sources=len(self.files),
            num_documents=sum(num_documents),
            num_tokens=sum(num_tokens),
            num_rows=num_rows,
            num_shards=num_shards - sum(one.num_shards for one in before),
            num_rejected=sum(segment.num_rejected for segment in segments),
            num_short=sum(segment.num_short for segment in segments),
            versions=self.request.versions,
        )
        parts = (*before, part)
        counts = zip(self.request.sources, num_documents, num_tokens, strict=True)
        added = tuple(
            Source(**source.model_dump(), num_documents=documents, num_tokens=tokens)
            for source, documents, tokens in counts
        )
        return DatasetCard(
            format_version=FORMAT_VERSION,
            recipe=parts[0].recipe,
            recipe_sha256=sha256_of(parts[0].recipe.model_dump(mode="json")),
            tokenizer=self.loaded.identity,
            seq_len=self.layout.seq_len,
            dtype=self.layout.dtype,
            **{name: sum(getattr(one, name) for one in parts) for name in COUNTS},
            parts=parts,
            leftover=tuple(stream.read(len(stream) - left, len(stream)).tolist()),
            sources=(*self.base.sources, *added) if self.base else added,
            files=files,
            versions=parts[0].versions,
        )
