"""StreamingBagDataset: what it serves, and what it leaves behind."""

import itertools
import logging
import multiprocessing
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from bag_datasets import BAG_SIZE, BATCH_SIZE, ROWS, built_datasets, read, rows_in
from handmade_shards import SEQ_LEN, write_shards
from references import read_rows_with_streaming

from tstdata import StreamingBagDataset

# Streaming reads a shard that it checks the hash of without closing it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file <_io.BufferedReader name=.*shard:ResourceWarning"
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards") / "bags", ROWS)


@pytest.fixture
def build(shards, tmp_path):
    """Builds the dataset into a fresh cache, attached unless told otherwise; anything can be overridden."""
    with built_datasets(shards, tmp_path) as build_one:
        yield build_one


def test_samples_are_the_rows_that_the_order_names_joined_to_bags_in_phase_one(build):
    dataset = build()
    for epoch in range(3):
        expected = [
            [int(i) - sum(ROWS) + k for k in range(BAG_SIZE)] if i >= sum(ROWS) else [int(i)]
            for i in dataset.epoch_order(epoch).batches(0, dataset.plan.epoch(epoch).num_batches).ravel()
        ]
        (served,) = read(dataset)
        assert served == expected


@pytest.mark.parametrize("joined", [2, 3, 5])
def test_wider_rows_are_stored_rows_of_one_shard_joined_in_both_phases(build, joined):
    dataset = build(seq_len=joined * SEQ_LEN, bag_size=2, superposition_batches=2)
    assert dataset.seq_len == joined * SEQ_LEN
    served = read(dataset, 3)
    lengths = [len(rows) for epoch in served for rows in epoch]
    assert lengths == [2 * joined] * 8 + [joined] * (len(lengths) - 8)
    shard = np.repeat(np.arange(len(ROWS)), ROWS)
    for epoch in served:
        assert all(len(set(shard[rows].tolist())) == 1 for rows in epoch)
        rows = [row for sample in epoch for row in sample]
        assert len(rows) == len(set(rows))
    assert len(served[2]) == sum(n // joined for n in ROWS) // BATCH_SIZE * BATCH_SIZE
    left_out = [set(range(sum(ROWS))) - {row for sample in epoch for row in sample} for epoch in served]
    assert left_out[1] != left_out[2]


def test_wider_rows_by_number_begin_at_that_stored_row_and_stay_in_its_shard(build):
    dataset = build(seq_len=2 * SEQ_LEN, superposition_batches=0)
    assert [rows_in(dataset[i]) for i in (0, 21, 23)] == [[0, 1], [21, 22], [23, 24]]
    with pytest.raises(IndexError, match="sample 22, 2 stored rows, goes on beyond the end of its shard"):
        dataset[22]


def test_length_is_the_number_of_samples_of_each_epoch_in_turn(build):
    dataset = build()
    for expected in (24, 8 + (sum(ROWS) - 24) // 4 * 4, sum(ROWS) // 4 * 4):
        before = len(dataset)
        lengths = [len(dataset) for _ in dataset]
        assert lengths == [expected] * expected
        assert before == expected


def test_unshuffled_bags_of_one_shard_follow_each_other(build):
    dataset = build(shuffle=False, superposition_batches=2)
    assert list(itertools.chain(*itertools.islice(read(dataset)[0], 8)))[:21] == list(range(21))


def test_rows_by_number_are_single_rows_whatever_the_phase(build):
    dataset = build()
    assert [rows_in(dataset[i]) for i in (0, 22, 23, sum(ROWS) - 1, -1)] == [[0], [22], [23], [78], [78]]


def test_the_rows_of_a_prepared_dataset_are_those_stored(small_dataset, tmp_path):
    stored = read_rows_with_streaming(small_dataset)
    dataset = StreamingBagDataset(
        remote=str(small_dataset),
        local=str(tmp_path / "cache"),
        bag_size=2,
        superposition_batches=0,
        batch_size=2,
    )
    assert len(dataset) == len(stored) // 2 * 2
    for number, sample in enumerate(itertools.islice(dataset, 200)):
        assert sample["input_ids"].tolist() == stored[number]


def test_bag_rows_come_through_a_cache_that_holds_four_shards(tmp_path, build):
    shards = write_shards(tmp_path / "many", [40] * 12)
    size = (shards / "shard.00000.mds").stat().st_size
    limit = (shards / "index.json").stat().st_size + 4 * size + 100
    whole = read(build(remote=str(shards), shuffle_block_size=80), 2)
    tight = build(remote=str(shards), shuffle_block_size=80, cache_limit=limit, local=str(tmp_path / "tight"))
    seen = []
    served = []
    for sample in tight:
        served.append(rows_in(sample))
        seen.append(len(list((tmp_path / "tight").glob("*.mds"))))
    assert served == whole[0]
    # One more while it is exchanged: Streaming makes room before it fetches, in two threads.
    assert max(seen) <= 5


def test_a_damaged_download_never_becomes_a_row(build, shards, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(shards, damaged)
    with (damaged / "shard.00001.mds").open("r+b") as shard:
        shard.seek(-3, 2)
        shard.write(b"\xff")
    dataset = build(remote=str(damaged), shuffle=False, superposition_batches=0)
    served = []
    with pytest.raises(OSError, match=r"shard.00001.mds of .*damaged could not be fetched.*index.json says"):
        served.extend(rows_in(sample) for sample in dataset)
    assert served == [[row] for row in range(ROWS[0])]
    # Nothing is left that a later run could take for a shard.
    assert not (tmp_path / "cache0" / "shard.00001.mds").exists()


def test_shards_without_hashes_are_warned_of(build, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="tstdata"):
        build(remote=str(write_shards(tmp_path / "bare", ROWS, hashes=())))
    assert "has no shard hashes" in caplog.text


def test_compressed_shards_give_the_same_rows(build, tmp_path):
    packed = write_shards(tmp_path / "packed", ROWS, compression="zstd:3")
    assert read(build(remote=str(packed)), 2) == read(build(), 2)


def test_a_closed_dataset_leaves_nothing_in_shared_memory(build):
    dataset = build()
    dataset.load_state_dict(dataset.state_dict(0, True))
    read(dataset)
    number = f"{dataset._shm_prefix_int:06}_"
    folders = [Path("/dev/shm"), Path(tempfile.gettempdir())]

    def left() -> list[str]:
        return [path.name for folder in folders if folder.exists() for path in folder.glob(f"{number}*")]

    assert any("filelock" in name for name in left())
    dataset.close()
    assert left() == []
    dataset.close()


def start_many(shards, folder):
    for number in range(12):
        StreamingBagDataset(
            remote=str(shards), local=f"{folder}/{number}", bag_size=1, superposition_batches=0, batch_size=2
        ).close()


def test_runs_that_start_at_the_same_time_do_not_take_each_others_shared_memory(shards, tmp_path):
    fork = multiprocessing.get_context("fork")
    runs = [fork.Process(target=start_many, args=(shards, tmp_path / str(run))) for run in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(timeout=60)
    assert [run.exitcode for run in runs] == [0, 0, 0]
