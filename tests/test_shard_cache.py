"""What lies in the cache is checked before a row of it is served; damage is repaired or named, never read."""

import logging
import multiprocessing
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from handmade_shards import SEQ_LEN, tokens_of_row, write_shards

from tstdata import StreamingBagDataset, build_bag_dataloader

ROWS = (23, 17, 9, 30)
SHARD = "shard.00001.mds"
# Streaming reads a shard that it checks the hash of without closing it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file <_io.BufferedReader name=.*shard:ResourceWarning"
)


@pytest.fixture(params=[None, "zstd:3"], ids=["raw", "zstd"])
def shards(request, tmp_path):
    return write_shards(tmp_path / "shards", ROWS, compression=request.param)


@pytest.fixture
def build():
    built = []

    def build_one(remote, local, **changes):
        arguments = {"bag_size": 2, "superposition_batches": 0, "batch_size": 4, "drop_last": False}
        built.append(StreamingBagDataset(remote=remote, local=str(local), **{**arguments, **changes}))
        return built[-1]

    yield build_one
    for dataset in built:
        dataset.close()


def tokens(dataset):
    return [sample["input_ids"].tolist() for sample in dataset]


ALL_TOKENS = [tokens_of_row(row) for row in range(sum(ROWS))]


def flip_a_bit(path):
    with path.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        byte = file.read(1)
        file.seek(-5, os.SEEK_END)
        file.write(bytes([byte[0] ^ 4]))


def cut_off(path):
    os.truncate(path, path.stat().st_size - 7)


def empty(path):
    os.truncate(path, 0)


def spoil_the_header(path):
    with path.open("r+b") as file:
        file.write(b"\xff")


DAMAGES = [flip_a_bit, cut_off, empty, spoil_the_header]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_left_in_the_cache_is_fetched_again_and_no_wrong_token_served(
    build, tmp_path, caplog, damage
):
    shards = write_shards(tmp_path / "shards", ROWS)
    cache = tmp_path / "cache"
    assert tokens(build(str(shards), cache)) == ALL_TOKENS
    damage(cache / SHARD)
    with caplog.at_level(logging.WARNING, logger="tstdata"):
        assert tokens(build(str(shards), cache)) == ALL_TOKENS
    assert caplog.text.count("deleted, and fetched again from") == 1
    assert SHARD in caplog.text
    assert (cache / SHARD).read_bytes() == (shards / SHARD).read_bytes()


@pytest.mark.parametrize("damage", [flip_a_bit, cut_off])
def test_a_damaged_compressed_file_left_in_the_cache_is_fetched_again(build, tmp_path, caplog, damage):
    shards = write_shards(tmp_path / "shards", ROWS, compression="zstd:3")
    cache = shutil.copytree(shards, tmp_path / "cache")
    damage(cache / f"{SHARD}.zstd")
    with caplog.at_level(logging.WARNING, logger="tstdata"):
        assert tokens(build(str(shards), cache)) == ALL_TOKENS
    assert caplog.text.count("deleted, and fetched again from") == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_a_remote_a_damaged_shard_is_named_with_what_to_type_and_kept(build, shards, damage):
    path = next(shards.glob(f"{SHARD}*"))
    damage(path)
    with pytest.raises(OSError, match=rf"{SHARD}.*no `remote`.*tst verify {shards}"):
        tokens(build(None, shards))
    assert path.exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_missing_from_the_remote_is_named_by_every_process(tmp_path, shards, workers):
    next(shards.glob(f"{SHARD}*")).unlink()
    dataset = {"remote": str(shards), "local": str(tmp_path / "cache"), "bag_size": 2}
    loader = build_bag_dataloader(
        {**dataset, "superposition_batches": 0}, device_batch_size=4, num_workers=workers
    ).dataloader
    with pytest.raises(OSError, match=rf"{SHARD}.* of {shards} could not be fetched"):
        list(loader)
    loader.dataset.close()


def test_a_shard_that_several_fetching_threads_miss_is_warned_of_once(build, tmp_path, caplog):
    shards = write_shards(tmp_path / "shards", ROWS)
    (shards / SHARD).unlink()
    dataset = build(str(shards), tmp_path / "cache", cache_limit="100mb", predownload=80)
    with caplog.at_level(logging.WARNING), pytest.raises(OSError, match=SHARD):
        tokens(dataset)
    late = SimpleNamespace(sample_ids=list(range(79)), total=79, yield_index=0)
    late.should_exit, late.on_exit = lambda: False, lambda: None
    dataset._fetch_shards(late)
    said = [record.message for record in caplog.records if "could not be fetched" in record.message]
    assert len(said) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_hand_over_every_batch_before_the_row_that_is_missing(tmp_path, workers):
    shards = write_shards(tmp_path / "shards", (40, 40, 40))
    (shards / "shard.00002.mds").unlink()
    dataset = {"remote": str(shards), "local": str(tmp_path / "cache"), "bag_size": 2}
    loader = build_bag_dataloader(
        {**dataset, "superposition_batches": 0, "num_canonical_nodes": 1},
        device_batch_size=6,
        num_workers=workers,
    ).dataloader
    served = []
    with pytest.raises(OSError, match=rf"shard.00002.mds of {shards} could not be fetched"):
        served.extend(row for batch in loader for row in batch["input_ids"].tolist())
    assert served == [tokens_of_row(row) for row in range(80 // 6 * 6)]
    loader.dataset.close()


def test_worker_processes_that_meet_a_damaged_file_at_once_all_serve_the_right_tokens(tmp_path):
    shards = write_shards(tmp_path / "shards", [40] * 6)
    cache = shutil.copytree(shards, tmp_path / "cache")
    for path in cache.glob("*.mds"):
        flip_a_bit(path)
    dataset = {"remote": str(shards), "local": str(cache), "bag_size": 2, "superposition_batches": 0}
    loader = build_bag_dataloader({**dataset, "shuffle": True}, device_batch_size=4, num_workers=2).dataloader
    served = np.concatenate([batch["input_ids"].numpy() for batch in loader])
    assert sorted(served.tolist()) == [tokens_of_row(row) for row in range(240)]
    loader.dataset.close()


def test_a_shard_that_is_removed_while_it_is_open_is_served_on(build, tmp_path):
    shards = write_shards(tmp_path / "shards", ROWS)
    dataset = build(str(shards), tmp_path / "cache")
    assert dataset[0]["input_ids"].tolist() == ALL_TOKENS[0]
    (tmp_path / "cache" / "shard.00000.mds").unlink()
    assert dataset[1]["input_ids"].tolist() == ALL_TOKENS[1]


def test_a_spawned_worker_gets_no_copy_of_open_shards(build, tmp_path):
    dataset = build(str(write_shards(tmp_path / "shards", ROWS)), tmp_path / "cache")
    assert dataset[0]["input_ids"].shape == (SEQ_LEN,)
    assert dataset.maps.numbers() == [0]
    spawn = multiprocessing.get_context("spawn")
    assert len(spawn.reducer.ForkingPickler.dumps(dataset.maps)) < 10_000
    assert dataset.maps.__getstate__()["_open"] == {}
