"""Building: a preparation that was begun, encoded to segments and, on the way, written as shards."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .card import COUNTS, FORMAT_VERSION, DatasetCard, Part, Source, sha256_of
from .commit import file_sha256
from .dataset_files import DatasetFiles
from .engine import Engine
from .fast_encoder import kept_encoders
from .merging import (
    DOCUMENTS_DIR,
    Numbering,
    copy_tokenizer,
    count_by_source,
    fingerprint_sources,
    write_documents,
    write_rejects,
)
from .options import PrepareOptions
from .output import APPEND_DIR, WORK_DIR, abandon, sweep
from .progress import Progress
from .request import Request, key_of
from .segments import Segment, find_segment, segment_stem
from .shard_reading import read_index
from .shard_writing import ShardWriter
from .shards import INDEX_FILE, ShardLayout, write_index
from .source_file import SourceFile
from .tasks import EncodeJob, Task
from .tokenizer import KnownTokenizer


def unfinished_dir(out: Path, base: DatasetCard | None) -> Path:
    """Returns where a preparation, or an append to a base, keeps its unfinished work."""
    return out / (WORK_DIR if base is None else APPEND_DIR)


@dataclass(frozen=True)
class Building:
    """What it works on; `base` is the card of the finished dataset that an append goes on from."""

    out: Path
    request: Request
    files: Sequence[SourceFile]
    tasks: Sequence[Task]
    tokenizer: KnownTokenizer
    layout: ShardLayout
    options: PrepareOptions
    base: DatasetCard | None = None

    @property
    def work(self) -> Path:
        """Where the segments are."""
        return unfinished_dir(self.out, self.base)

    def run(self, engine: Engine) -> None:
        """Encodes what was not, writing shards on the way, then the rest; `index.json` and the card last."""
        sweep(self.out)
        base = self.base
        with ShardWriter(
            self.out,
            self.work / "shards",
            self.layout,
            self.options,
            head=base.leftover if base else (),
            first_shard=base.num_shards if base else 0,
        ) as shards:
            try:
                self._encode(engine, shards)
            except Exception:
                sweep(self.out)
                abandon(self.out, self.work, keep_finished_tasks=True)
                raise
            if base is None and len(shards.stream) < self.layout.seq_len:
                why = self._too_little(shards)
                abandon(self.out, self.work, keep_finished_tasks=False)
                raise ValueError(why)
            entries = read_index(DatasetFiles(self.out))[: base.num_shards] if base else []
            entries += shards.finish()
        self._finish(shards, entries)

    def _too_little(self, shards: ShardWriter) -> str:
        """Returns the message for sources that fill no row."""
        of = f" for {self.options.part}" if self.options.part else ""
        words = [
            f"the sources hold {len(shards.stream)} tokens in all{of}, less than one row of seq_len "
            f"{self.layout.seq_len}."
        ]
        markers = [segment.marker for segment in shards.segments]
        if rejected := sum(marker.num_rejected for marker in markers):
            _, first = next(record for segment in shards.segments for record in segment.rejects())
            words.append(
                f"{rejected} documents were rejected, one of {first['path']} first: {first['reason']}"
            )
        if short := sum(marker.num_short for marker in markers):
            words.append(f"{short} documents have fewer characters than --min-chars.")
        if len(shards.stream) or not (rejected or short):
            words.append("Give a smaller --seq-len or more text.")
        if self.options.part:
            words.append("Of few documents a small --holdout may take none, a large one all.")
        return " ".join(words)

    def _finish(self, shards: ShardWriter, entries: list[Any]) -> None:
        base = self.base
        files = dict(base.files) if base else {}
        first = Numbering(
            file=sum(name.startswith(DOCUMENTS_DIR) for name in files),
            source=len(base.sources) if base else 0,
            token=base.num_tokens if base else 0,
        )
        names = write_documents(self.out, shards.segments, [file.path for file in self.files], first)
        part = len(base.parts) if base else 0
        names += write_rejects(self.out, shards.segments, len(self.files), part)
        if base is None:
            copy_tokenizer(self.out, self.tokenizer)
        # Between these two renames the index knows of shards that the card does not: they are not part of the
        # dataset yet, to whoever reads the card.
        write_index(self.out, entries)
        files.update({name: file_sha256(self.out / name) for name in [INDEX_FILE, *names]})
        self._card(shards, len(entries), files).save(self.out)

    def _encode(self, engine: Engine, shards: ShardWriter) -> None:
        """Runs the tasks that have no committed segment yet; with a limit, no more than it takes."""
        identity = self.tokenizer.identity
        job = EncodeJob(
            work=self.work,
            selection=self.options.selection,
            on_error=self.options.on_error,
            most_whole=self.options.max_whole,
            eos_token=identity.eos_token,
            eos_id=identity.eos_id,
            bos_id=identity.bos_id,
            dtype=self.tokenizer.dtype,
        )
        with Progress("preparing", sum(task.size for task in self.tasks), self.options.progress) as bar:
            found = [(task, self._find(task)) for task in self.tasks]
            missing = shards.resume(found)
            left = {task.index for task in missing}
            for task, segment in found:
                if segment is not None and task.index not in left:
                    bar.advance(task.size, segment.num_tokens)
            # With a limit some tasks at a time, in order: those behind the last document wanted are not run.
            step = len(missing) if self.options.limit is None else self.options.workers
            for start in range(0, len(missing), max(step, 1)):
                try:
                    if not shards.is_enough:
                        engine.run(missing[start : start + step], job, bar.advance, shards.add)
                except Exception as error:
                    # Of a task behind the last document wanted, which only several workers begin.
                    if isinstance(error, ChildProcessError) or not shards.is_enough:
                        raise

    def _find(self, task: Task) -> Segment | None:
        """Returns a task's committed segment; not one that now would be made otherwise."""
        found = find_segment(segment_stem(self.work, task.index))
        if found is None or found.marker.encoder not in kept_encoders(self.options.encoder, self.tokenizer):
            return None
        return None if found.marker.num_rejected and self.options.on_error == "fail" else found

    def _card(self, shards: ShardWriter, num_shards: int, files: dict[str, str]) -> DatasetCard:
        segments, stream = shards.segments, shards.stream
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
            num_rejected=sum(segment.marker.num_rejected for segment in segments),
            num_short=sum(segment.marker.num_short for segment in segments),
            versions={**self.request.versions, "encoder": _encoders(segments)},
        )
        parts = (*before, part)
        added = self._sources(segments, num_documents, num_tokens)
        return DatasetCard(
            format_version=FORMAT_VERSION,
            recipe=parts[0].recipe,
            recipe_sha256=sha256_of(parts[0].recipe.model_dump(mode="json")),
            tokenizer=self.tokenizer.identity,
            seq_len=self.layout.seq_len,
            dtype=self.layout.dtype,
            **{name: sum(getattr(one, name) for one in parts) for name in COUNTS},
            parts=parts,
            leftover=tuple(stream.read(len(stream) - left, len(stream)).tolist()),
            sources=(*self.base.sources, *added) if self.base else added,
            files=files,
            versions=parts[0].versions,
        )

    def _sources(
        self, segments: Sequence[Segment], num_documents: Sequence[int], num_tokens: Sequence[int]
    ) -> tuple[Source, ...]:
        counts = zip(
            self.files, fingerprint_sources(segments, self.files), num_documents, num_tokens, strict=True
        )
        return tuple(
            Source(
                path=file.path,
                format=file.format,
                text_key=key_of(file),
                size=file.size,
                fingerprint=fingerprint,
                num_documents=documents,
                num_tokens=tokens,
            )
            for file, fingerprint, documents, tokens in counts
        )


def _encoders(segments: Sequence[Segment]) -> str:
    """Returns the names of the encoders at work: more than one if a resumed run used another."""
    return ", ".join(sorted({segment.marker.encoder for segment in segments}))
