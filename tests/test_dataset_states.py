"""The state of a StreamingBagDataset: resuming at every batch, and states that are refused."""

import itertools
import json
import logging
from multiprocessing.shared_memory import SharedMemory

import pytest
from bag_datasets import BATCH_SIZE, ROWS, built_datasets, read, tail
from handmade_shards import SEQ_LEN, write_shards
from plain_streaming import plain_streaming

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
