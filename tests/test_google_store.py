"""Google Cloud Storage: what prepare writes there is the local dataset, and training streams it back."""

import pytest
from conftest import SMALL_SEQ_LEN
from google_store import google_store
from test_prepare import tree

import tstdata
from tstdata import StreamingBagDataset

# Streaming reads a shard that it checks the hash of without closing it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file <_io.BufferedReader name=.*shard:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with google_store(tmp_path_factory.mktemp("google")) as store:
        yield store


@pytest.fixture
def store(server, monkeypatch):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def build(tmp_path):
    built = []

    def build_one(remote, local):
        arguments = {"bag_size": 2, "superposition_batches": 3, "batch_size": 4, "shuffle": True}
        built.append(StreamingBagDataset(remote=remote, local=str(tmp_path / local), **arguments))
        built[-1].attach_superposition(bag_size=2, superposition_batches=3, vocab_size=None)
        return [sample["input_ids"].tolist() for sample in built[-1]]

    yield build_one
    for dataset in built:
        dataset.close()


def test_a_dataset_prepared_into_google_storage_has_the_bytes_of_a_local_one(
    store, corpus, tokenizer_dir, small_dataset, tmp_path
):
    uri = store.uri("prepared/bags")
    tstdata.prepare(corpus[0], uri, tokenizer_dir, SMALL_SEQ_LEN, size_limit=70_000, work_dir=tmp_path)
    assert tree(store.folder / "prepared" / "bags") == tree(small_dataset)
    assert tstdata.verify(uri).ok


def test_rows_stream_from_google_storage_in_the_local_order(store, small_dataset, build):
    store.upload(small_dataset, "streamed")
    assert build(store.uri("streamed"), "cache") == build(str(small_dataset), "local")


def test_a_shard_missing_from_google_storage_is_named(store, small_dataset, build):
    store.upload(small_dataset / "index.json", "holed/index.json")
    with pytest.raises(OSError, match=r"shard\..* of gs://corpora/holed could not be .* It is not there"):
        build(store.uri("holed"), "holed")
