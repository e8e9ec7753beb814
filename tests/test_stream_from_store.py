"""Streaming from real S3 servers: the rows and their order are those of a local directory."""

import time

import pytest
from bag_datasets import ROWS, built_datasets
from handmade_shards import tokens_of_row, write_shards

# Streaming reads a shard that it checks the hash of without closing it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file <_io.BufferedReader name=.*shard:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning"),
]


@pytest.fixture
def build(tmp_path):
    """Builds the dataset of a remote into a fresh cache."""
    with built_datasets(tmp_path, tmp_path) as build_one:
        yield lambda remote: build_one(remote=remote)


def read(dataset, num_epochs):
    return [[sample["input_ids"].tolist() for sample in dataset] for _ in range(num_epochs)]


@pytest.mark.parametrize("server", ["object_store", "second_object_store"])
@pytest.mark.parametrize("compression", [None, "zstd:3"])
def test_both_phases_come_from_a_store_in_the_local_order(server, compression, request, build, tmp_path):
    store = request.getfixturevalue(server)
    shards = write_shards(tmp_path / "shards", ROWS, compression=compression)
    prefix = f"streamed-{compression}"
    store.upload(shards, prefix)
    served = read(build(store.uri(prefix)), 3)
    assert served == read(build(str(shards)), 3)
    assert {len(sample) for sample in served[0]} == {24}
    assert {len(sample) for sample in served[2]} == {8}


def test_a_shard_missing_from_the_store_is_named_with_the_store_and_soon(object_store, build, tmp_path):
    object_store.upload(write_shards(tmp_path / "shards", ROWS), "holed")
    object_store.client.delete_object(Bucket=object_store.bucket, Key="holed/shard.00002.mds")
    dataset = build(object_store.uri("holed"))
    start = time.monotonic()
    with pytest.raises(
        OSError, match=r"shard.00002.mds of s3://corpora/holed could not be fetched .* It is not there: put"
    ):
        read(dataset, 3)
    assert time.monotonic() - start < 60


def test_wrong_bytes_in_the_store_are_never_served_and_leave_nothing_behind(object_store, build, tmp_path):
    object_store.upload(write_shards(tmp_path / "shards", ROWS), "wrong")
    right = object_store.read("wrong/shard.00001.mds")
    object_store.write("wrong/shard.00001.mds", right[:-1] + bytes([right[-1] ^ 1]))
    with pytest.raises(OSError, match=r"shard.00001.mds of s3://corpora/wrong .*index.json says"):
        read(build(object_store.uri("wrong")), 3)
    assert not (tmp_path / "cache0" / "shard.00001.mds").exists()
    object_store.write("wrong/shard.00001.mds", right)
    assert sorted(read(build(object_store.uri("wrong")), 3)[2])[0] == tokens_of_row(0)
