"""What StreamingBagDataset refuses: arguments, Algorithms, models and data that can't be right."""

import os
import shutil

import pytest
from bag_datasets import ROWS, built_datasets, read, rows_in
from handmade_shards import write_shards
from streaming import MDSWriter
from transformers import PreTrainedTokenizerFast

import tstdata
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
        (
            {"validate_hash": "sha1"},
            r"validate_hash is 'sha1' and shard.00000.mds of .* has xxh64",
        ),
    ],
)
def test_what_cannot_be_or_would_break_the_order_is_refused(build, change, message):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ValueError, match=message):
        build(**change)
    # Streaming shares memory through open files, which a notebook with many tries would run out of.
    assert len(os.listdir("/proc/self/fd")) == before


def test_superposing_bags_of_one_token_is_warned_of(build):
    with pytest.warns(UserWarning, match="has no effect with bag_size 1"):
        build(bag_size=1)


def test_shards_of_text_are_refused_with_what_to_do(build, tmp_path):
    with MDSWriter(out=str(tmp_path / "text"), columns={"text": "str"}) as out:
        out.write({"text": "once"})
    with pytest.raises(ValueError, match=r"columns \{'text': 'str'\}.*tst prepare"):
        build(remote=str(tmp_path / "text"))
