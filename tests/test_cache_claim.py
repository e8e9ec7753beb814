"""One cache, its limit and its jobs: little room, two jobs at once, and what killed ones leave behind."""

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from handmade_shards import tokens_of_row, write_shards
from reading_ranks import Job, fork_server, read_on_two_ranks
from streaming.base.shared.prefix import _pack_locals

from tstdata import StreamingBagDataset
from tstdata.dataloader import BagDataLoader

ROWS = (23, 17, 9, 30)
ALL_TOKENS = [tokens_of_row(row) for row in range(sum(ROWS))]
# Streaming reads a shard that it checks the hash of without closing it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file <_io.BufferedReader name=.*shard:ResourceWarning"
)


def read_and_live_on(num_workers, remote, local, until, words):
    """A job that says which workers it has when it has read its first batch, and goes on living."""
    places = {"remote": str(remote), "local": str(local)}
    dataset = StreamingBagDataset(**places, bag_size=2, superposition_batches=0, batch_size=4)
    workers = {"num_workers": num_workers, "multiprocessing_context": "fork"} if num_workers else {}
    batches = iter(BagDataLoader(dataset, **workers))
    if until == "read":
        next(batches)
    words.send([worker.pid for worker in multiprocessing.active_children()])
    time.sleep(600)


@pytest.fixture
def shards(tmp_path):
    return write_shards(tmp_path / "shards", ROWS)


@pytest.fixture
def build(shards, tmp_path):
    built = []

    def build_one(**changes):
        arguments = {"remote": str(shards), "local": str(tmp_path / "cache"), "drop_last": False}
        arguments |= {"bag_size": 2, "superposition_batches": 0, "batch_size": 4}
        built.append(StreamingBagDataset(**{**arguments, **changes}))
        return built[-1]

    yield build_one
    for dataset in built:
        dataset.close()


@contextlib.contextmanager
def another_job(shards, cache, num_workers=0, until="read"):
    """A job in a process of its own; yields it, and the processes of its workers."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = fork_server().Process(target=read_and_live_on, args=(num_workers, shards, cache, until, theirs))
    process.start()
    try:
        assert ours.poll(60)
        yield process, ours.recv()
    finally:
        process.kill()
        process.join()
        ours.close()
        theirs.close()


def tokens(dataset):
    return [sample["input_ids"].tolist() for sample in dataset]


def lives(process):
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes() != b""  # Of a dead one that is not waited for.
    except FileNotFoundError:
        return False


def size_of(folder):
    total = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # Evicted just now.
            total += path.stat().st_size if path.name != ".in-use" else 0
    return total


@pytest.mark.parametrize("num_shards", [1, 3])
@pytest.mark.parametrize("compression", [None, "zstd:3"])
def test_with_room_for_few_shards_every_row_is_served_within_the_limit(
    build, tmp_path, caplog, num_shards, compression
):
    shards = write_shards(tmp_path / "many", [20] * 8, compression=compression)
    infos = json.loads((shards / "index.json").read_text())["shards"]
    largest = max(
        sum(info[kind]["bytes"] for kind in ("raw_data", "zip_data") if info[kind]) for info in infos
    )
    limit = (shards / "index.json").stat().st_size + num_shards * largest
    with caplog.at_level(logging.WARNING, logger="tstdata"):
        dataset = build(remote=str(shards), cache_limit=limit, shuffle=True, shuffle_block_size=40)
    assert f"holds {num_shards} of the largest shards" in caplog.text
    served = []
    for sample in dataset:
        served.append(sample["input_ids"].tolist())
        assert size_of(tmp_path / "cache") <= limit
    assert sorted(served) == [tokens_of_row(row) for row in range(160)]
    with pytest.raises(
        ValueError, match=rf"cache_limit is .* bytes; .* need {limit - (num_shards - 1) * largest:,}"
    ):
        build(remote=str(shards), local=str(tmp_path / "other"), cache_limit=limit - num_shards * largest + 9)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_two_ranks_with_room_for_three_shards_read_what_they_read_without_a_limit(tmp_path, num_workers):
    shards = write_shards(tmp_path / "many", [20] * 12)
    shard, index = (shards / "shard.00000.mds").stat().st_size, (shards / "index.json").stat().st_size
    dataset = {"remote": str(shards), "bag_size": 2, "superposition_batches": 0, "shuffle": True}
    dataset |= {"shuffle_block_size": 60}
    free = read_on_two_ranks(Job({**dataset, "local": str(tmp_path / "free")}))
    tight = {**dataset, "local": str(tmp_path / "tight"), "cache_limit": index + 3 * shard}
    limited = read_on_two_ranks(Job(tight, num_workers=num_workers))
    assert [reading.error for reading in limited] == [None, None]
    assert [reading.batches for reading in limited] == [reading.batches for reading in free]
    assert size_of(tmp_path / "tight") <= index + 3 * shard


@pytest.mark.parametrize("until", ["read", "start"])
def test_a_second_job_in_a_cache_is_told_whose_it_is_and_may_have_it_once_that_one_is_killed(
    build, shards, tmp_path, until
):
    with another_job(shards, tmp_path / "cache", until=until) as (first, _):
        with pytest.raises(
            ValueError, match=rf"cache {tmp_path}/cache is in use by .*`local`.*: kill {first.pid}"
        ):
            build()
        assert tokens(build(local=str(tmp_path / "another"))) == ALL_TOKENS
        first.kill()
        first.join()
        assert tokens(build()) == ALL_TOKENS


def test_a_run_started_right_after_kill_nine_waits_for_workers_that_are_left_and_they_end(
    build, shards, tmp_path
):
    with another_job(shards, tmp_path / "cache", num_workers=2) as (first, workers):
        assert len(workers) == 2
        first.kill()
        first.join()
        start = time.monotonic()
        assert tokens(build()) == ALL_TOKENS
        assert time.monotonic() - start < 4  # Left alone, they would look for their rank after 5.
        assert not any(lives(worker) for worker in workers)


def test_a_worker_that_does_not_end_with_its_rank_is_named_with_what_to_type(
    build, shards, tmp_path, monkeypatch
):
    monkeypatch.setattr("tstdata.cache_claim._PATIENCE_SECONDS", 1.0)
    with another_job(shards, tmp_path / "cache", num_workers=1) as (first, (worker,)):
        os.kill(worker, signal.SIGSTOP)
        first.kill()
        first.join()
        with pytest.raises(ValueError, match=rf"what is left of a killed run.*: kill -9 {worker}\."):
            build()
        os.kill(worker, signal.SIGKILL)
        assert tokens(build()) == ALL_TOKENS


def test_shared_memory_of_a_dead_job_with_this_cache_does_not_stop_the_next(build, tmp_path):
    number = next(n for n in range(1000) if not list(Path("/dev/shm").glob(f"{n:06}_*")))
    left = Path(f"/dev/shm/{number:06}_locals")
    left.write_bytes(_pack_locals([str(tmp_path / "cache")], number))
    try:
        assert tokens(build()) == ALL_TOKENS
    finally:
        left.unlink(missing_ok=True)


def test_what_killed_downloads_left_is_neither_trusted_nor_kept(build, shards, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    whole = (shards / "shard.00001.mds").read_bytes()
    left = ["index.json.tmp", "shard.00001.mds.tmp", "shard.00001.mds.aB3dE6f9"]
    for name in [*left, "shard.00001.mds"]:
        (cache / name).write_bytes(whole[: len(whole) // 2])
    (cache / "notes.tmp").write_bytes(b"not ours")
    assert tokens(build()) == ALL_TOKENS
    assert {path.name for path in cache.iterdir()} == {
        ".in-use",
        "index.json",
        "notes.tmp",
        *(f"shard.{n:05}.mds" for n in range(4)),
    }


def test_a_damaged_index_in_the_cache_is_fetched_again(build, shards, tmp_path, caplog):
    assert tokens(build()) == ALL_TOKENS
    (tmp_path / "cache" / "index.json").write_bytes(b"")
    with caplog.at_level(logging.WARNING, logger="tstdata"):
        assert tokens(build()) == ALL_TOKENS
    assert "index.json is damaged: deleted, and fetched again" in caplog.text
    (shards / "index.json").write_bytes(b"{")
    with pytest.raises(ValueError, match="empty or corrupted"):
        build(local=str(tmp_path / "fresh"))


def test_a_shard_whose_fetcher_was_killed_is_fetched_by_whoever_needs_it(build):
    dataset = build()
    dataset._shard_states[1] = 2  # Being prepared, as Streaming counts, and by nobody.
    start = time.monotonic()
    assert tokens(dataset) == ALL_TOKENS
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("value", ["skip", None])
def test_a_bad_shard_can_only_be_an_error(build, value):
    build(on_bad_shard="error")
    with pytest.raises(ValueError, match=r"on_bad_shard is .*which rows are in every later batch"):
        build(on_bad_shard=value)
