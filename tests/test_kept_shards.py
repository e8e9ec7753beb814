"""Shards of an interrupted preparation are kept without their tokens; what none holds is encoded again."""

import json
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import xxhash
from conftest import SMALL_SEQ_LEN
from test_prepare import tree

import tstdata
from tstdata import tasks
from tstdata.shard_writing import ShardWriter
from tstdata.shards import write_shard_bytes


@pytest.mark.parametrize("interrupted", [False, True])
def test_tokens_are_kept_once_and_a_resumed_run_keeps_shards(
    tmp_path, corpus, tokenizer_dir, small_dataset, monkeypatch, interrupted
):
    monkeypatch.setattr(tasks, "_TASK_BYTES", 50_000)
    out = tmp_path / "out"
    arguments = (corpus[0], out, tokenizer_dir, SMALL_SEQ_LEN)
    if interrupted:
        stop_when_a_segment_comes(3, monkeypatch, lambda: tstdata.prepare(*arguments, size_limit=70_000))
        assert len(list((out / ".prepare" / "shards").glob("*.json"))) > 0
    stop_after_the_full_shards(monkeypatch, lambda: tstdata.prepare(*arguments, size_limit=70_000))
    shards = sorted((out / ".prepare" / "shards").glob("*.mds"))
    segments = sorted((out / ".prepare").glob("*.tokens"))
    # What is not in a full shard, from the beginning of the segment that the first such token is in.
    num_tokens = tstdata.DatasetCard.load(small_dataset).num_tokens
    itemsize = np.dtype(tstdata.DatasetCard.load(small_dataset).dtype).itemsize
    in_shards = len(shards) * row_bytes_per_shard(small_dataset)
    left = sum(path.stat().st_size for path in segments)
    a_segment = max(path.stat().st_size for path in segments)
    assert num_tokens * itemsize - in_shards <= left < num_tokens * itemsize - in_shards + a_segment
    before = {path: path.stat() for path in shards}
    monkeypatch.setattr("tstdata.engine.run_task", None)  # No task is run again.
    tstdata.prepare(*arguments, size_limit=70_000)
    assert tree(out) == tree(small_dataset)
    for path, stat in before.items():
        moved = (out / path.name).stat()
        assert (moved.st_ino, moved.st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns)


def test_an_interrupted_run_with_a_limit_goes_on_to_the_same_bytes(
    tmp_path, corpus, tokenizer_dir, monkeypatch
):
    monkeypatch.setattr(tasks, "_TASK_BYTES", 50_000)
    limit = tstdata.prepare(corpus[0], tmp_path / "all", tokenizer_dir, SMALL_SEQ_LEN).card.num_documents - 5
    arguments = {"seq_len": SMALL_SEQ_LEN, "size_limit": 70_000, "limit": limit}
    tstdata.prepare(corpus[0], tmp_path / "whole", tokenizer_dir, **arguments)

    def run():
        return tstdata.prepare(corpus[0], tmp_path / "out", tokenizer_dir, **arguments)

    stop_after_the_full_shards(monkeypatch, run)
    assert len(list((tmp_path / "out" / ".prepare" / "shards").glob("*.json"))) > 2
    run()
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_tokens_stay_until_every_earlier_shard_is_written(
    tmp_path, corpus, tokenizer_dir, small_dataset, monkeypatch
):
    monkeypatch.setattr(tasks, "_TASK_BYTES", 50_000)
    monkeypatch.setattr("tstdata.shard_writing.writing_threads", lambda _: 2)
    later = tmp_path / "out" / ".prepare" / "shards" / "shard.00001.mds.json"

    def write(aside, number, rows, *layout):
        deadline = time.monotonic() + 30
        while number == 0 and not later.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return write_shard_bytes(aside, number, rows, *layout)

    monkeypatch.setattr("tstdata.shard_writing.write_shard_bytes", write)
    tstdata.prepare(corpus[0], tmp_path / "out", tokenizer_dir, SMALL_SEQ_LEN, size_limit=70_000)
    assert tree(tmp_path / "out") == tree(small_dataset)


def stop_when_a_segment_comes(number: int, monkeypatch, run):
    """Runs, and is interrupted at a segment, from 0, when the shards that were full are written."""
    added = count()

    def add(self, *arguments, real=ShardWriter.add):
        if next(added) == number:
            for shard in self._shards:
                shard.result()
            raise KeyboardInterrupt
        real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "add", add)
        with pytest.raises(KeyboardInterrupt):
            run()


def stop_after_the_full_shards(monkeypatch, run):
    """Runs, and is interrupted when all shards are written but the last."""

    def stop(self):
        for shard in self._shards:
            shard.result()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            run()


def row_bytes_per_shard(dataset: Path) -> int:
    card = tstdata.DatasetCard.load(dataset)
    row = card.seq_len * np.dtype(card.dtype).itemsize
    return json.loads((dataset / "index.json").read_bytes())["shards"][0]["samples"] * row


def damage_a_shard(work: Path) -> None:
    shard = work / "shards" / "shard.00001.mds"
    shard.write_bytes(shard.read_bytes()[:-4] + b"\xff\xff\xff\x7f")


def lose_a_shard(work: Path) -> None:
    (work / "shards" / "shard.00001.mds").unlink()


def lose_an_entry(work: Path) -> None:
    (work / "shards" / "shard.00001.mds.json").unlink()


def halve_an_entry(work: Path) -> None:
    entry = work / "shards" / "shard.00001.mds.json"
    entry.write_bytes(entry.read_bytes()[:40])


def lose_a_marker(work: Path) -> None:
    (work / "task-000002.done").unlink()


def make_all_with_another_encoder(work: Path) -> None:
    """Shards and entries that agree with one another, of ids that the reference would not give."""
    lose_a_marker(work)
    for shard in (work / "shards").glob("*.mds"):
        shard.write_bytes(shard.read_bytes()[:-4] + b"\0\0\0\0")
        entry = json.loads(shard.with_name(f"{shard.name}.json").read_bytes())
        entry["raw_data"]["hashes"]["xxh64"] = xxhash.xxh64(shard.read_bytes()).hexdigest()
        shard.with_name(f"{shard.name}.json").write_text(json.dumps(entry))
    (work / "task-000000.done").unlink()


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(
    "damage",
    [
        damage_a_shard,
        lose_a_shard,
        lose_an_entry,
        halve_an_entry,
        lose_a_marker,
        make_all_with_another_encoder,
    ],
)
def test_what_no_shard_holds_is_encoded_again(
    tmp_path, corpus, tokenizer_dir, small_dataset, monkeypatch, damage, again
):
    monkeypatch.setattr(tasks, "_TASK_BYTES", 50_000)
    out = tmp_path / "out"
    arguments = (corpus[0], out, tokenizer_dir, SMALL_SEQ_LEN)
    stop_after_the_full_shards(monkeypatch, lambda: tstdata.prepare(*arguments, size_limit=70_000))
    damage(out / ".prepare")
    if again:  # Interrupted once more, when some of it is made again.
        stop_when_a_segment_comes(4, monkeypatch, lambda: tstdata.prepare(*arguments, size_limit=70_000))
    tstdata.prepare(*arguments, size_limit=70_000)
    assert tree(out) == tree(small_dataset)
