"""`hf://`: a data set of the hub is read like a local tree, and one that changed is told from what was."""

import os
import subprocess
import sys

import pytest
from hub_stand_in import hub_of
from test_prepare import tree, write_jsonl


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "hub" / "data"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        write_jsonl(folder / f"{name}.jsonl", [f"{name} {number}: for all of them" for number in range(200)])
    return folder


@pytest.fixture
def prepare(files, tokenizer_dir, tmp_path):
    """Runs `tst prepare` as a user of a hub elsewhere does: huggingface_hub reads its address once."""
    with hub_of(files.parent, "team/corpus") as address:

        def run(source: str, out: str) -> subprocess.CompletedProcess:
            command = [sys.executable, "-m", "tst_tools", "prepare", source, "--out", str(tmp_path / out)]
            command += ["--tokenizer", str(tokenizer_dir), "--seq-len", "16"]
            environment = {**os.environ, "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"}
            return subprocess.run(command, env=environment, capture_output=True, text=True)

        yield run


def test_a_dataset_of_the_hub_gives_the_shards_of_a_local_copy(prepare, files, tmp_path):
    shards = []
    for out, source in (("there", "hf://datasets/team/corpus/data/*.jsonl"), ("here", f"{files}/*.jsonl")):
        done = prepare(source, out)
        assert done.returncode == 0, done.stderr
        shards.append({name: data for name, data in tree(tmp_path / out).items() if name.endswith(".mds")})
    assert shards[0] == shards[1] != {}


def test_a_file_of_the_hub_that_changed_but_not_in_size_is_refused(prepare, files):
    assert prepare("hf://datasets/team/corpus/data", "out").returncode == 0
    path = files / "b.jsonl"
    path.write_bytes(path.read_bytes().replace(b"all of them", b"one of them"))
    done = prepare("hf://datasets/team/corpus/data", "out")
    assert done.returncode == 2
    assert "hf://datasets/team/corpus/data/b.jsonl" in done.stderr
