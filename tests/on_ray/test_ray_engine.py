"""`--engine ray` on a cluster of two nodes: the bytes of one process, also when a node dies in the middle."""

import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from kills import make_inputs, tree

import tstdata

_REASON = "Ray is not installed here: make test-ray has an environment for it"
ray = pytest.importorskip("ray", reason=_REASON)
cluster_utils = pytest.importorskip("ray.cluster_utils", reason=_REASON)


@pytest.fixture
def cluster():
    """A head and one more node, each a raylet of its own, with one processor each."""
    started = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    started.second = started.add_node(num_cpus=1)
    ray.init(address=started.address, log_to_driver=False)
    yield started
    ray.shutdown()
    started.shutdown()


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """Corpus and tokenizer, and what one process makes of them."""
    monkeypatch.setattr("tstdata.tasks._TASK_BYTES", 100_000)
    tokenizer, corpus = make_inputs(tmp_path)
    tstdata.prepare(corpus, tmp_path / "local", tokenizer, 128, size_limit=200_000)
    return tokenizer, corpus, tree(tmp_path / "local")


def test_a_cluster_gives_the_bytes_of_one_process(cluster, inputs, tmp_path):
    tokenizer, corpus, wanted = inputs
    tstdata.prepare(corpus, tmp_path / "out", tokenizer, 128, size_limit=200_000, engine="ray")
    assert tree(tmp_path / "out") == wanted


def test_a_node_that_dies_in_the_middle_changes_nothing(cluster, inputs, tmp_path, monkeypatch):
    tokenizer, corpus, wanted = inputs
    killed = threading.Event()
    advance = tstdata.progress.Progress.advance

    def advance_then_kill(self, num_bytes, num_tokens=0):
        advance(self, num_bytes, num_tokens)
        if num_tokens and not killed.is_set():
            killed.set()
            cluster.remove_node(cluster.second, allow_graceful=False)

    monkeypatch.setattr("tstdata.progress.Progress.advance", advance_then_kill)
    tstdata.prepare(corpus, tmp_path / "out", tokenizer, 128, size_limit=200_000, engine="ray")
    assert killed.is_set()
    assert not cluster.worker_nodes
    assert tree(tmp_path / "out") == wanted


def test_bad_input_on_a_node_is_told_as_it_would_be_here(cluster, inputs, tmp_path):
    tokenizer, corpus, _ = inputs
    (corpus / "zz.jsonl").write_bytes(b'{"text": 1}\n')
    with pytest.raises(ValueError, match=r"zz\.jsonl line 1.*must be a string"):
        tstdata.prepare(corpus, tmp_path / "out", tokenizer, 128, size_limit=200_000, engine="ray")
    assert list((tmp_path / "out" / ".prepare").glob("task-*.done"))
