"""Datasets in an object store: the same bytes as local ones, resumed after any kill, read where they lie."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SMALL_SEQ_LEN
from test_prepare import tree, write_jsonl
from tst_tools import cli

import tstdata
from tstdata.inspection import inspect_row

# Small tasks and shards, and a process that dies at its COUNTth write: of a local file or to the store.
CALL = """
import os, signal, sys, tstdata.tasks, tstdata.file_systems
tstdata.tasks._TASK_BYTES = 50_000
rename, upload, count, limit = os.replace, tstdata.file_systems.write_file, 0, int(sys.argv[6])
def dying(act):
    def one(*arguments):
        global count
        count += 1
        if count == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(*arguments)
    return one
os.replace = dying(rename)
import tstdata.remote_output
tstdata.remote_output.write_file = dying(upload)
source, out, tokenizer, seq_len, work_dir = sys.argv[1:6]
tstdata.prepare(source, out, tokenizer, int(seq_len), size_limit=70_000, work_dir=work_dir)
"""


@pytest.mark.parametrize("server", ["object_store", "second_object_store"])
def test_a_remote_dataset_has_the_bytes_of_a_local_one(
    server, request, tmp_path, corpus, tokenizer_dir, small_dataset
):
    store = request.getfixturevalue(server)
    arguments = (corpus[0], store.uri("same/bags"), tokenizer_dir, SMALL_SEQ_LEN)
    report = tstdata.prepare(*arguments, size_limit=70_000, work_dir=tmp_path)
    assert store.tree("same/bags") == tree(small_dataset)
    assert report.card == tstdata.DatasetCard.load(small_dataset)
    assert not list(tmp_path.iterdir())
    stamps = {key: stamp(store, key) for key in store.keys("same/")}
    again = tstdata.prepare(*arguments, size_limit=70_000, work_dir=tmp_path)
    assert again.already_done
    assert again.stored_bytes == report.stored_bytes
    assert {key: stamp(store, key) for key in store.keys("same/")} == stamps


def stamp(store, key: str):
    return store.client.head_object(Bucket=store.bucket, Key=key)["LastModified"]


@pytest.mark.slow
def test_a_killed_remote_preparation_resumes_to_identical_bytes(
    object_store, tmp_path, corpus, tokenizer_dir, small_dataset
):
    uri, count = object_store.uri("killed/bags"), 1
    while True:
        command = [sys.executable, "-c", CALL, str(corpus[0]), uri, str(tokenizer_dir), str(SMALL_SEQ_LEN)]
        code = subprocess.run([*command, str(tmp_path), str(count)], check=False).returncode
        if code == 0:
            break
        assert code == -signal.SIGKILL
        if "killed/bags/dataset.json" not in object_store.keys("killed/"):
            with pytest.raises(FileNotFoundError, match="no finished bag-shard dataset"):
                tstdata.DatasetCard.load(uri)
        count += 1
    assert count > 8  # More than the commits that finish a dataset: some died while it was encoded.
    assert object_store.tree("killed/bags") == tree(small_dataset)


def test_an_append_to_a_remote_dataset_uploads_only_what_is_new(object_store, tmp_path, tokenizer_dir):
    sources = [write_jsonl(tmp_path / f"{n}.jsonl", [f"text {n} {m}" for m in range(200)]) for n in range(2)]
    local, uri = tmp_path / "local", object_store.uri("append/bags")
    for out in (local, uri):
        tstdata.prepare(sources[0], out, tokenizer_dir, 8, size_limit=2_000, work_dir=tmp_path / "work")
    stamps = {key: stamp(object_store, key) for key in object_store.keys("append/")}
    options = {"size_limit": 2_000, "append": True, "work_dir": tmp_path / "work"}
    tstdata.prepare(sources[1], local, tokenizer_dir, 8, **options)
    # What an append that was given up left in the store: of the right name and size, and wrong.
    added = [name for name in tree(local) if name.startswith("shard") and f"append/bags/{name}" not in stamps]
    object_store.write(f"append/bags/{added[0]}", b"\0" * (local / added[0]).stat().st_size)
    tstdata.prepare(sources[1], uri, tokenizer_dir, 8, **options)
    assert object_store.tree("append/bags") == tree(local)
    changed = {key for key, was in stamps.items() if stamp(object_store, key) != was}
    assert changed <= {"append/bags/index.json", "append/bags/dataset.json"}
    assert tstdata.verify(uri).ok


@pytest.mark.parametrize("server", ["object_store", "second_object_store"])
@pytest.mark.parametrize("kind", ["small_dataset", "compressed_dataset"])
def test_remote_datasets_are_verified_and_inspected_where_they_lie(server, kind, request, capsys):
    store, local = request.getfixturevalue(server), request.getfixturevalue(kind)
    store.upload(local, f"look/{kind}")
    uri = store.uri(f"look/{kind}")
    assert cli.main(["verify", uri]) == 0
    assert inspect_row(uri, 3, 2) == inspect_row(local, 3, 2)
    assert cli.main(["inspect", uri, "--row", "1"]) == 0
    assert "documents:" in capsys.readouterr().out
    shard = next(key for key in store.keys(f"look/{kind}/") if "shard.00002" in key)
    data = bytearray(store.read(shard))
    data[len(data) // 2] ^= 1
    store.write(shard, bytes(data))
    assert {problem.file for problem in tstdata.verify(uri).problems} == {Path(shard).name}
    store.client.delete_object(Bucket=store.bucket, Key=shard)
    assert "is missing" in " ".join(problem.what for problem in tstdata.verify(uri).problems)


def test_a_corpus_in_a_store_is_read_where_it_lies(object_store, tmp_path, corpus, tokenizer_dir):
    object_store.upload(corpus[0], "corpus")
    report = tstdata.prepare(object_store.uri("corpus"), tmp_path / "out", tokenizer_dir, SMALL_SEQ_LEN)
    whole = tstdata.prepare(corpus[0], tmp_path / "local", tokenizer_dir, SMALL_SEQ_LEN)
    names = [source.path.rpartition("/")[2] for source in report.card.sources]
    assert names == [source.path.rpartition("/")[2] for source in whole.card.sources]
    assert all(source.fingerprint.startswith("modified:") for source in report.card.sources)
    assert tree(tmp_path / "out").keys() == tree(tmp_path / "local").keys()
    shards = [name for name in tree(tmp_path / "out") if name.startswith("shard")]
    assert all(tree(tmp_path / "out")[name] == tree(tmp_path / "local")[name] for name in shards)
    globbed = tstdata.prepare(
        object_store.uri("corpus/**/*.py"), tmp_path / "glob", tokenizer_dir, 8, workers=2
    )
    assert len(globbed.card.sources) == len(list(corpus[0].rglob("*.py")))


def leaves(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_another_recipe_or_foreign_files_in_the_store_are_refused(
    object_store, tmp_path, corpus, tokenizer_dir, monkeypatch
):
    work_dir = tmp_path / "work"

    def call(prefix: str, seq_len: int, **how):
        out = object_store.uri(f"refuse/{prefix}")
        return tstdata.prepare(corpus[0], out, tokenizer_dir, seq_len, **{"work_dir": work_dir, **how})

    def refuses(prefix: str, seq_len: int, error: type[Exception], words: str, **how):
        """Also as a dry run, from this scratch directory and from one that knows nothing; nothing changes."""
        before = object_store.tree(f"refuse/{prefix}"), leaves(work_dir)
        for trial in ({"dry_run": True}, {"dry_run": True, "work_dir": tmp_path / "none"}, {}):
            with pytest.raises(error, match=words):
                call(prefix, seq_len, **how, **trial)
            if trial:
                assert (object_store.tree(f"refuse/{prefix}"), leaves(work_dir)) == before

    call("done", 16)
    refuses("done", 32, ValueError, "seq_len was 16, now 32")
    refuses("done", 32, ValueError, "can't be appended to: seq_len was 16, now 32", append=True)
    with monkeypatch.context() as patch:
        patch.setattr("tstdata.remote_output.RemoteOutput._upload", interrupt)
        with pytest.raises(KeyboardInterrupt):
            call("begun", 16)
    refuses("begun", 32, ValueError, r"holds unfinished work of .*seq_len was 16, now 32")
    refuses("none", 16, FileNotFoundError, "refuse/none is no finished bag-shard dataset", append=True)
    for name, data in (("mds/index.json", b'{"shards": [], "version": 2}'), ("foreign/notes.txt", b"mine")):
        object_store.write(f"refuse/{name}", data)
        folder, _, file = name.partition("/")
        refuses(folder, 16, FileExistsError, rf"is not empty \(it has {file}\)")
        assert object_store.tree(f"refuse/{folder}") == {file: data}


def test_a_dry_run_looks_at_the_store_and_writes_nothing(object_store, tmp_path, corpus, tokenizer_dir):
    def trial(append: bool):
        how = {"work_dir": tmp_path / "work", "dry_run": True, "append": append}
        return tstdata.prepare(corpus[0], object_store.uri("dry"), tokenizer_dir, 16, **how).estimate

    assert trial(False).num_documents
    assert object_store.tree("dry") == {}
    tstdata.prepare(corpus[0], object_store.uri("dry"), tokenizer_dir, 16, work_dir=tmp_path / "made-in")
    made = object_store.tree("dry")
    assert trial(False).num_documents
    assert trial(True).num_documents
    assert object_store.tree("dry") == made
    assert not (tmp_path / "work").exists()


def test_the_scratch_directory_counts_only_where_it_goes_on_from_what_the_store_has(
    object_store, tmp_path, tokenizer_dir, monkeypatch
):
    out = object_store.uri("ahead")

    def append(name: str, scratch: str, is_new: bool = False):
        source = write_jsonl(tmp_path / f"{name}.jsonl", [f"the text of {name}"] * 9)
        how = {"append": not is_new, "work_dir": tmp_path / scratch}
        return tstdata.prepare(source, out, tokenizer_dir, 8, **how).card

    def killed_before_the_upload(name: str):
        with monkeypatch.context() as patch:
            patch.setattr("tstdata.remote_output.RemoteOutput._upload", interrupt)
            with pytest.raises(KeyboardInterrupt):
                append(name, "one")

    append("a", "one", is_new=True)
    killed_before_the_upload("b")
    with monkeypatch.context() as patch:
        patch.delattr("tstdata.engine.run_task")  # There is nothing left to encode.
        assert len(append("b", "one").parts) == 2
    killed_before_the_upload("c")
    append("d", "another")
    names = [source.path.rpartition("/")[2] for source in append("c", "one").sources]
    assert names == ["a.jsonl", "b.jsonl", "d.jsonl", "c.jsonl"]
    assert not tstdata.verify(out).problems


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_dataset_in_a_store_is_streamed(object_store, tmp_path, small_dataset):
    object_store.upload(small_dataset, "stream")
    dataset = tstdata.StreamingBagDataset(
        remote=object_store.uri("stream"),
        local=str(tmp_path),
        bag_size=1,
        superposition_batches=0,
        batch_size=1,
    )
    assert dataset.card == tstdata.DatasetCard.load(object_store.uri("stream"))
    dataset.close()


def test_a_bucket_that_is_not_there_is_named(tmp_path, corpus, tokenizer_dir, second_object_store, capsys):
    command = ["prepare", str(corpus[0]), "--out", "s3://no-such-bucket/x", "--tokenizer", str(tokenizer_dir)]
    assert cli.main([*command, "--seq-len", "32", "--work-dir", str(tmp_path)]) == 2
    assert "no-such-bucket" in capsys.readouterr().err
