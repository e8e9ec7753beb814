"""StreamingBagDataset: what it serves, what it refuses, and resuming at every batch."""

import itertools
import json
import logging
import multiprocessing
import shutil
import tempfile
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import pytest
from handmade_shards import SEQ_LEN, tokens_of_row, write_shards
from plain_streaming import plain_streaming
from references import read_rows_with_streaming
from streaming import MDSWriter
from transformers import PreTrainedTokenizerFast

import tstdata
from tstdata import StreamingBagDataset

ROWS = (23, 17, 9, 30)
BAG_SIZE, BATCH_SIZE = 3, 4
# 25 bag rows an epoch are 6 batches of 4: phase (i) ends in the second epoch.
SWITCH = 8
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
    built = []

    def build_one(attach=True, **changes):
        arguments = {
            "remote": str(shards),
            "local": str(tmp_path / f"cache{len(built)}"),
            "bag_size": BAG_SIZE,
            "superposition_batches": SWITCH,
            "batch_size": BATCH_SIZE,
            "shuffle": True,
        }
        dataset = StreamingBagDataset(**{**arguments, **changes})
        built.append(dataset)
        if attach:
            dataset.attach_superposition(
                bag_size=dataset.bag_size,
                superposition_batches=dataset.superposition_batches,
                vocab_size=None,
            )
        return dataset

    yield build_one
    for dataset in built:
        dataset.close()


def rows_in(sample):
    """The stored rows that a sample is made of, after checking that it is exactly them."""
    ids = sample["input_ids"]
    assert ids.dtype == np.int64
    rows = (ids[::SEQ_LEN] // SEQ_LEN).tolist()
    assert ids.tolist() == [token for row in rows for token in tokens_of_row(row)]
    assert rows == list(range(rows[0], rows[0] + len(rows)))
    return rows


def read(dataset, num_epochs=1):
    """Epochs of samples, each a list of its rows."""
    return [[rows_in(sample) for sample in dataset] for _ in range(num_epochs)]


def tail(epochs, epoch, batch):
    """What is left of `epochs` from a global batch on."""
    return [epochs[epoch][batch * BATCH_SIZE :], *epochs[epoch + 1 :]]


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


def test_wider_rows_resume_to_exactly_the_tail_and_only_as_wide(build):
    wide = {"seq_len": 2 * SEQ_LEN, "superposition_batches": 4}
    first, resumed = build(**wide), build(**wide)
    whole = read(first, 3)
    for epoch in range(3):
        for batch in range(len(whole[epoch]) // BATCH_SIZE + 1):
            state = {**first.state_dict(0, True), "epoch": epoch, "sample_in_epoch": batch * BATCH_SIZE}
            resumed.load_state_dict(state)
            assert read(resumed, 3 - epoch) == tail(whole, epoch, batch)
    with pytest.raises(ValueError, match=r"seq_len 16 \(now 8\)"):
        build(superposition_batches=4).load_state_dict(state)


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


def test_resuming_at_any_batch_of_three_epochs_gives_exactly_the_tail(build):
    first, resumed = build(), build()
    whole = read(first, 3)
    for epoch in range(3):
        for batch in range(len(whole[epoch]) // BATCH_SIZE + 1):
            state = {**first.state_dict(0, True), "epoch": epoch, "sample_in_epoch": batch * BATCH_SIZE}
            resumed.load_state_dict(json.loads(json.dumps(state)))
            assert resumed.position() == (epoch, batch)
            assert read(resumed, 3 - epoch) == tail(whole, epoch, batch)


def test_a_state_taken_while_reading_gives_the_tail_and_a_second_resumption_too(build):
    whole = read(build(), 3)
    states = [build().state_dict(0, True)]
    for count in (8, 12):
        dataset = build()
        dataset.load_state_dict(states[-1])
        done = states[-1]["sample_in_epoch"] + len(list(itertools.islice(dataset, count)))
        states += [dataset.state_dict(count, False), dataset.state_dict(done, True)]
        assert states[-1] == states[-2]
    last = build()
    last.load_state_dict(states[-1])
    assert read(last, 3) == tail(whole, 0, 5)


def test_a_state_inside_a_global_batch_goes_back_to_its_beginning_and_says_so(build, caplog):
    whole = read(build(), 2)
    dataset = build()
    with caplog.at_level(logging.WARNING, logger="tstdata"):
        dataset.load_state_dict({**dataset.state_dict(0, True), "epoch": 0, "sample_in_epoch": 11})
    assert "at row 11 of epoch 0, inside a global batch of 4: going back to row 8" in caplog.text
    assert read(dataset, 2) == tail(whole, 0, 2)


def test_a_state_after_an_epochs_end_begins_the_next_epoch(build):
    dataset = build()
    whole = read(dataset, 1)
    state = dataset.state_dict(0, True)
    assert (state["epoch"], state["sample_in_epoch"]) == (1, 0)
    resumed = build()
    resumed.load_state_dict(state)
    assert len(resumed) == len(read(resumed)[0]) != len(whole[0])


def test_a_state_of_an_earlier_epoch_takes_the_same_process_back(build):
    dataset = build()
    start = dataset.state_dict(0, True)
    whole = read(dataset, 3)
    dataset.load_state_dict({**start, "epoch": 1, "sample_in_epoch": 4})
    assert read(dataset, 2) == tail(whole, 1, 1)


def test_a_checkpoint_keeps_its_seed_and_canonical_nodes_and_says_so(build, caplog):
    first = build(shuffle_seed=7, num_canonical_nodes=2)
    whole = read(first, 2)
    other = build(shuffle_seed=8, num_canonical_nodes=4)
    with caplog.at_level(logging.WARNING, logger="tstdata"):
        other.load_state_dict({**first.state_dict(0, True), "epoch": 0, "sample_in_epoch": 8})
    assert "checkpoint's shuffle_seed 7, not 8" in caplog.text
    assert "checkpoint's num_canonical_nodes 2, not 4" in caplog.text
    assert read(other, 2) == tail(whole, 0, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bag_size": 2}, r"bag_size 3 \(now 2\)"),
        ({"superposition_batches": 7}, r"superposition_batches 8 \(now 7\)"),
        ({"batch_size": 2}, r"global_batch_size 4 \(now 2\)"),
        ({"shuffle": False}, r"shuffle_algo 'py1e' \(now None\)"),
        ({"shuffle_block_size": 99}, r"shuffle_block_size 4000000 \(now 99\)"),
        ({"drop_last": False}, r"drop_last True \(now False\)"),
    ],
)
def test_the_state_of_another_order_is_refused_with_both_values(build, change, message):
    state = build().state_dict(0, True)
    with pytest.raises(ValueError, match=message):
        build(**change).load_state_dict(state)


def test_the_state_of_another_dataset_is_refused_with_both_hashes(build, tmp_path):
    other = build(remote=str(write_shards(tmp_path / "other", (23, 17, 9, 31))))
    ours = build()
    theirs = other.state_dict(0, True)
    with pytest.raises(ValueError, match=f"dataset '{other.stored.sha256}' .now '{ours.stored.sha256}'"):
        ours.load_state_dict(theirs)


def test_the_state_of_a_plain_streaming_dataset_or_of_none_is_refused(build, shards, tmp_path):
    with plain_streaming(remote=str(shards), local=str(tmp_path / "plain"), batch_size=4) as plain:
        state = plain.state_dict(0, True)
    with pytest.raises(ValueError, match="but by a plain StreamingDataset"):
        build().load_state_dict(state)
    with pytest.raises(ValueError, match="but by a run without one"):
        build().load_state_dict(None)


def test_a_state_beyond_the_epochs_end_is_refused(build):
    dataset = build()
    with pytest.raises(ValueError, match="at row 28 of epoch 0, which has 24"):
        dataset.load_state_dict({**dataset.state_dict(0, True), "epoch": 0, "sample_in_epoch": 28})


def test_bag_rows_are_refused_until_an_algorithm_attaches_also_when_resumed(build):
    dataset = build(attach=False)
    with pytest.raises(ValueError, match=r"bag_size: 3, superposition_batches: 8.*token_superposition"):
        next(iter(dataset))
    state = dataset.state_dict(0, True)
    dataset.load_state_dict({**state, "epoch": 1, "sample_in_epoch": 4})
    with pytest.raises(ValueError, match="no TokenSuperposition has attached"):
        next(iter(dataset))
    dataset.attach_superposition(bag_size=3, superposition_batches=8, vocab_size=None)
    assert len(rows_in(next(iter(dataset)))) == 3


def test_ordinary_rows_need_no_algorithm(build):
    assert len(read(build(attach=False, superposition_batches=0))[0]) == 76
    resumed = build(attach=False)
    resumed.load_state_dict({**resumed.state_dict(0, True), "epoch": 1, "sample_in_epoch": 8})
    assert all(len(rows) == 1 for rows in read(resumed)[0])


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (
            {"bag_size": 4, "superposition_batches": 8},
            "bag_size is 3 in the dataset and 4 in TokenSuperposition",
        ),
        ({"bag_size": 3, "superposition_batches": 9}, "superposition_batches is 8 in the dataset and 9"),
    ],
)
def test_an_algorithm_of_another_bag_size_or_switch_is_refused(build, theirs, message):
    dataset = build(attach=False)
    with pytest.raises(ValueError, match=message):
        dataset.attach_superposition(**theirs, vocab_size=None)
    with pytest.raises(ValueError, match="no TokenSuperposition"):
        next(iter(dataset))


def test_a_model_with_fewer_ids_or_another_tokenizer_than_the_cards_is_refused(
    small_dataset, tokenizer_dir, tmp_path
):
    dataset = StreamingBagDataset(
        remote=str(small_dataset),
        local=str(tmp_path / "cache"),
        bag_size=2,
        superposition_batches=1,
        batch_size=2,
    )
    assert dataset.card == tstdata.DatasetCard.load(small_dataset)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_dir)
    plan = {"bag_size": 2, "superposition_batches": 1}
    with pytest.raises(ValueError, match="1024 ids and the model has 1000"):
        dataset.attach_superposition(**plan, vocab_size=1000, tokenizer=tokenizer)
    dataset.attach_superposition(**plan, vocab_size=1024, tokenizer=tokenizer)
    tokenizer.add_tokens(["<new>"])
    with pytest.raises(ValueError, match="tokenizer is unlike the dataset's"):
        dataset.attach_superposition(**plan, vocab_size=2048, tokenizer=tokenizer)


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


def test_the_card_and_the_index_of_different_datasets_are_refused(small_dataset, shards, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(shards, mixed)
    shutil.copy(small_dataset / "dataset.json", mixed)
    with pytest.raises(ValueError, match=r"dataset.json promises .* index.json has 79 of 8"):
        StreamingBagDataset(local=str(mixed), bag_size=2, superposition_batches=0, batch_size=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": None}, "batch_size is None; it is a whole number, 1 or more"),
        ({"bag_size": 0}, "bag_size is 0"),
        ({"superposition_batches": -1}, "superposition_batches is -1"),
        ({"shuffle_algo": "py3"}, "shuffle_algo is 'py3'; it is one of py1e, py1br"),
        ({"seq_len": 12}, r"rows have 8 tokens and seq_len is 12.*8, 16, 24 .*tst prepare --seq-len 12"),
        ({"seq_len": 4}, "rows have 8 tokens and seq_len is 4"),
        ({"seq_len": 0}, "seq_len is 0; it is a whole number, 1 or more"),
        ({"seq_len": 8 * 31, "superposition_batches": 0}, "has 0 rows and one global batch needs 4"),
        ({"bag_size": 31}, "79 rows make 0 bag rows of bag_size 31"),
        ({"batch_size": 26}, "79 rows make 25 bag rows .* one global batch needs 26"),
        ({"batch_size": 80, "superposition_batches": 0}, "has 79 rows and one global batch needs 80"),
        ({"batching_method": "per_stream"}, "batching_method is 'per_stream'; leave it out"),
        ({"partition_algo": "orig"}, "partition_algo is 'orig'; leave it out"),
        ({"replication": 2}, "replication is 2; leave it out"),
        ({"sampling_method": "fixed"}, "sampling_method is 'fixed'; leave it out"),
        ({"sampling_granularity": 8}, "sampling_granularity is 8; leave it out"),
    ],
)
def test_what_cannot_be_or_would_break_the_order_is_refused(build, change, message):
    with pytest.raises(ValueError, match=message):
        build(**change)


def test_superposing_bags_of_one_token_is_warned_of(build):
    with pytest.warns(UserWarning, match="has no effect with bag_size 1"):
        build(bag_size=1)


def test_shards_of_text_are_refused_with_what_to_do(build, tmp_path):
    with MDSWriter(out=str(tmp_path / "text"), columns={"text": "str"}) as out:
        out.write({"text": "once"})
    with pytest.raises(ValueError, match=r"columns \{'text': 'str'\}.*tst prepare"):
        build(remote=str(tmp_path / "text"))


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
    with pytest.raises(OSError, match=r"shard.00001.mds of .*damaged could not be fetched.*Checksum failure"):
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


def test_the_state_that_a_killed_run_left_in_shared_memory_is_not_gone_on_from(build):
    """Streaming hands out the first number whose memory is free, whatever else is left under it."""
    build()
    killed = build()
    name = f"{killed._shm_prefix_int:06}_resume"
    state = {**killed.state_dict(0, True), "epoch": 0, "sample_in_epoch": 8}
    killed.close()
    leftover = SharedMemory(name, create=True, size=4096)
    leftover.buf[: len(json.dumps(state)) + 1] = json.dumps(state).encode() + b"\0"
    leftover.close()
    fresh = build()
    if f"{fresh._shm_prefix_int:06}_resume" != name:
        pytest.skip("another process of this machine took the number meanwhile")
    assert fresh.position() == (0, 0)
    assert len(read(fresh)[0]) == 24


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
