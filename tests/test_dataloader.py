"""The bag dataloader: its batches and lengths, workers, resuming, and two ranks."""

import itertools
import json
import logging
import os
import socket
import subprocess
import sys

import pytest
import torch
from bag_loaders import (
    BAG_SIZE,
    BATCH_SIZE,
    EPOCHS,
    ROWS,
    SWITCH,
    attach_to,
    built_loaders,
    fingerprint,
    read,
)
from handmade_shards import SEQ_LEN, write_shards
from transformers import PreTrainedTokenizerFast

# Streaming reads a shard that it checks the hash of without closing it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file <_io.BufferedReader name=.*shard:ResourceWarning"
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    torch.set_num_threads(1)
    return write_shards(tmp_path_factory.mktemp("shards") / "bags", ROWS)


@pytest.fixture
def build(shards, tmp_path):
    """Builds a loader over a fresh cache, its dataset attached unless told otherwise."""
    with built_loaders(shards, tmp_path) as build_one:
        yield build_one


def test_batches_are_int64_rows_with_labels_an_unshifted_copy(build):
    spec = build()
    for number, batch in enumerate(itertools.chain(spec.dataloader, spec.dataloader)):
        assert set(batch) == {"input_ids", "labels"}
        assert batch["input_ids"].dtype == batch["labels"].dtype == torch.int64
        assert batch["input_ids"].shape == (BATCH_SIZE, SEQ_LEN * (BAG_SIZE if number < SWITCH else 1))
        assert torch.equal(batch["input_ids"], batch["labels"])
        assert batch["input_ids"].data_ptr() != batch["labels"].data_ptr()
        assert spec.get_num_samples_in_batch(batch) == BATCH_SIZE
        assert spec.get_num_tokens_in_batch(batch) == batch["input_ids"].numel()


def test_the_length_is_the_number_of_batches_of_the_epoch_read_or_read_next(build):
    loader = build().dataloader
    for bags, rows in EPOCHS:
        assert len(loader) == bags + rows
        assert [len(loader) for _ in itertools.islice(loader, bags + rows - 1)] == [bags + rows] * (
            bags + rows - 1
        )
        assert len(loader) == bags + rows
        loader.dataset.mark_finished(loader.dataset.next_epoch - 1)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_worker_processes_change_nothing(build, num_workers):
    assert read(build(num_workers=num_workers).dataloader, 3) == read(build().dataloader, 3)


def test_persistent_workers_change_nothing_and_follow_a_state_loaded_between_epochs(build):
    loader = build(num_workers=2, persistent_workers=True).dataloader
    other = build(dataset={"num_canonical_nodes": 2, "shuffle_seed": 5}).dataloader
    state = {**other.state_dict(), "epoch": 1, "sample_in_epoch": 4}
    assert read(loader, 2) == read(build().dataloader, 2)
    loader.load_state_dict(state)
    other.load_state_dict(state)
    assert read(loader, 2) == read(other, 2)


@pytest.mark.slow
def test_workers_that_are_spawned_and_not_forked_change_nothing(build):
    spawned = build(num_workers=1, multiprocessing_context="spawn").dataloader
    assert read(spawned, 1) == read(build().dataloader, 1)


@pytest.mark.parametrize(
    ("num_workers", "places"), [(0, ((0, 4), (0, 6), (1, 1), (1, 2), (1, 14), (2, 3))), (2, ((0, 5), (1, 2)))]
)
def test_a_loop_of_ones_own_resumes_to_exactly_the_tail(build, num_workers, places):
    whole = read(build().dataloader, 3)
    resumed = build(num_workers=num_workers).dataloader
    for epoch, batch in places:
        first = build(num_workers=num_workers).dataloader
        read(first, epoch)
        for _ in itertools.islice(first, batch):
            pass
        resumed.load_state_dict(first.state_dict())
        assert read(resumed, 3 - epoch) == [whole[epoch][batch:], *whole[epoch + 1 :]]


def test_the_last_rows_are_one_short_batch_when_they_are_not_dropped(build):
    loader = build(drop_last=False).dataloader
    for _ in range(3):
        length = len(loader)
        batches = list(loader)
        assert length == len(batches)
    assert [len(batch["input_ids"]) for batch in batches] == [4] * 19 + [3]
    assert sorted(int(t) // SEQ_LEN for b in batches for t in b["input_ids"][:, 0]) == list(range(sum(ROWS)))
    state = loader.state_dict()
    assert (state["epoch"], state["sample_in_epoch"]) == (2, sum(ROWS))
    resumed = build(drop_last=False).dataloader
    resumed.load_state_dict(state)
    assert list(resumed) == []


@pytest.mark.parametrize("num_workers", [0, 2])
def test_bag_rows_are_refused_until_an_algorithm_attaches_with_workers_and_resumed_too(build, num_workers):
    loader = build(attach=False, num_workers=num_workers).dataloader
    with pytest.raises(ValueError, match=r"^the next batch is of bag rows"):
        next(iter(loader))
    loader.load_state_dict({**loader.state_dict(), "epoch": 1, "sample_in_epoch": 4})
    with pytest.raises(ValueError, match=r"^the next batch is of bag rows"):
        next(iter(loader))
    attach_to(loader.dataset)
    assert fingerprint(next(iter(loader)))[0] == BAG_SIZE * SEQ_LEN


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shuffle": True}, "shuffle is True; leave it out"),
        ({"batch_size": 4}, "batch_size is 4; leave it out"),
        ({"collate_fn": list}, "collate_fn is .*; leave it out"),
        ({"dataset": {"batch_size": 8}}, "dataset.batch_size is 8 and the loader's 4"),
        ({"dataset": {"drop_last": False}}, "dataset.drop_last is False and the loader's True"),
        ({"dataset": {"batching_method": "stratified"}}, "batching_method is 'stratified'; leave it out"),
    ],
)
def test_what_would_contradict_the_dataset_is_refused(build, changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_a_tokenizer_unlike_the_cards_is_refused(small_dataset, tokenizer_dir, build):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_dir)
    data = {"remote": str(small_dataset), "superposition_batches": 0}
    build(dataset=data, tokenizer=tokenizer)
    tokenizer.add_tokens(["<new>"])
    with pytest.raises(ValueError, match="tokenizer is unlike the dataset's"):
        build(dataset=data, tokenizer=tokenizer)


def test_sequence_ids_count_the_documents_that_ended_in_the_row_before(small_dataset, build):
    data = {"remote": str(small_dataset), "superposition_batches": 2}
    loader = build(dataset=data, sequence_ids=True).dataloader
    end = loader.dataset.card.tokenizer.eos_id
    most = 0
    for batch in loader:
        for ids, sequence in zip(batch["input_ids"].tolist(), batch["sequence_id"].tolist(), strict=True):
            assert sequence == [ids[:at].count(end) for at in range(len(ids))]
            most = max(most, *sequence)
    assert most > 0
    with pytest.raises(ValueError, match="has no card, which tells the end-of-text id"):
        build(sequence_ids=True)


def test_an_epoch_cut_to_the_length_of_an_earlier_one_is_warned_of(build, caplog):
    loader = build().dataloader
    with caplog.at_level(logging.WARNING, logger="tstdata"):
        for _ in range(3):
            for _ in itertools.islice(loader, EPOCHS[0][0]):
                pass
    assert "epoch 1 was left after 6 of its 15 batches, the length of an earlier epoch" in caplog.text
    assert "epoch 0 was left" not in caplog.text


RANK_SCRIPT = """
import itertools, json, sys
import torch
from torch import distributed
from tstdata import StreamingBagDataset
from tstdata.dataloader import BagDataLoader

torch.set_num_threads(1)
remote, out = sys.argv[1:]
distributed.init_process_group("gloo")
rank = distributed.get_rank()
read = {}
for num_workers in (0, 2):
    plan = {"bag_size": 3, "superposition_batches": 8}
    dataset = StreamingBagDataset(
        remote=remote, local=f"{out}/{num_workers}", batch_size=2, shuffle=True, **plan
    )
    dataset.attach_superposition(**plan, vocab_size=None)
    loader = BagDataLoader(dataset, num_workers=num_workers)
    epochs = [[batch["input_ids"][:, 0].tolist() for batch in loader] for _ in range(2)]
    third = [batch["input_ids"][:, 0].tolist() for batch in itertools.islice(loader, 5)]
    read[num_workers] = {"epochs": [*epochs, third], "state": loader.state_dict()}
with open(f"{out}/rank{rank}.json", "w") as file:
    json.dump(read, file)
distributed.barrier()
"""


def run_two_ranks(shards, folder):
    """Runs two ranks of one node; returns what each read, by number of workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-c", RANK_SCRIPT, str(shards), str(folder)]
    environments = [{**os.environ, **world, "RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    ranks = [subprocess.Popen(command, env=environment) for environment in environments]
    try:
        assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in "01"]


def test_two_ranks_share_the_global_batches_of_one_which_goes_on_from_their_state(shards, tmp_path, build):
    first, second = run_two_ranks(shards, tmp_path)
    alone = build().dataloader
    whole = read(alone, 3)
    for num_workers in "02":
        assert first[num_workers]["state"] == second[num_workers]["state"]
        both = zip(first[num_workers]["epochs"], second[num_workers]["epochs"], strict=True)
        for epoch, (ours, theirs) in enumerate(both):
            assert len(ours) == len(theirs) == (5 if epoch == 2 else len(whole[epoch]))
            for mine, other, (_, rows) in zip(ours, theirs, whole[epoch], strict=False):
                assert len(mine) == len(other) == 2
                assert sorted(mine + other) == sorted(rows)
        alone.load_state_dict(first[num_workers]["state"])
        assert read(alone, 1) == [whole[2][5:]]
