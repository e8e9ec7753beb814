"""An interrupted preparation leaves nothing that looks finished, and goes on to the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import SMALL_SEQ_LEN
from plain_streaming import plain_streaming
from test_prepare import tree, write_jsonl

import tstdata

# Small tasks, so that a small corpus is cut into many.
CALL = """
import sys, tstdata.tasks
tstdata.tasks._TASK_BYTES = 50_000
{before}
sources, out, tokenizer, seq_len, workers = sys.argv[1:]
tstdata.prepare(sources, out, tokenizer, int(seq_len), size_limit=70_000, workers=int(workers))
"""
# Ends the process, as kill -9 does, when the COUNTth file is about to be renamed to its final name.
DIE_AT_A_COMMIT = """
import os, signal
rename, count = os.replace, 0
def replace(source, target):
    global count
    count += 1
    if count == COUNT:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
os.replace = replace
"""

# Ends the process when the first tokens are told of, and leaves the ids of its workers beside the output.
DIE_WHEN_TOKENS_COME = """
import os, pathlib, psutil, signal, threading, tstdata.progress
once = threading.Lock()
def advance(self, num_bytes, num_tokens=0):
    if num_tokens and once.acquire(blocking=False):
        workers = [child.pid for child in psutil.Process().children(recursive=True)]
        pathlib.Path(sys.argv[2]).with_name("workers").write_text(" ".join(map(str, workers)))
        os.kill(os.getpid(), signal.SIGKILL)
tstdata.progress.Progress.advance = advance
"""


def start(corpus: Path, out: Path, tokenizer: Path, workers: int, before: str = "") -> subprocess.Popen:
    arguments = [str(corpus), str(out), str(tokenizer), str(SMALL_SEQ_LEN), str(workers)]
    return subprocess.Popen([sys.executable, "-c", CALL.format(before=before), *arguments])


def runs(pid: int) -> bool:
    try:
        return (
            psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        )  # Ended, but its new parent has not looked.
    except psutil.NoSuchProcess:
        return False


def test_killed_prepare_resumes_to_identical_bytes(tmp_path, corpus, tokenizer_dir, small_dataset):
    out = tmp_path / "out"
    # From the request to the last task and full shard; then at each of the eight commits that a rerun makes
    # to finish the dataset: request, last shard and its place, documents, tokenizer, index, card.
    for commit in [1, 2, 3, 5, 8, 9, 9, 9, 8, 8, 7, 6, 5, 4, 3, 2]:
        before = DIE_AT_A_COMMIT.replace("COUNT", str(commit))
        assert start(corpus[0], out, tokenizer_dir, 1, before).wait() == -signal.SIGKILL
        with pytest.raises(FileNotFoundError, match="no finished bag-shard dataset"):
            tstdata.DatasetCard.load(out)
        assert [problem.file for problem in tstdata.verify(out).problems] == ["dataset.json"]
    assert start(corpus[0], out, tokenizer_dir, 1).wait() == 0
    assert tree(out) == tree(small_dataset)


def test_a_killed_parent_takes_its_workers_with_it_and_a_rerun_finishes(
    tmp_path, corpus, tokenizer_dir, small_dataset
):
    out = tmp_path / "out"
    assert start(corpus[0], out, tokenizer_dir, 2, DIE_WHEN_TOKENS_COME).wait() == -signal.SIGKILL
    pids = [int(pid) for pid in (tmp_path / "workers").read_text().split()]
    assert len(pids) == 3  # The one that loaded, too.
    deadline = time.monotonic() + 60
    while any(map(runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(runs, pids))
    assert not (out / "dataset.json").exists()
    assert start(corpus[0], out, tokenizer_dir, 3).wait() == 0
    assert tree(out) == tree(small_dataset)


def test_a_resumed_run_does_not_repeat_finished_tasks(tmp_path, corpus, tokenizer_dir):
    out = tmp_path / "out"
    # The request, two commits of the first task, and perhaps some of the second one and of a shard.
    assert start(corpus[0], out, tokenizer_dir, 1, DIE_AT_A_COMMIT.replace("COUNT", "6")).wait() != 0
    kept = {path: path.stat().st_mtime_ns for path in out.glob(".prepare/task-*.done")}
    assert len(kept) in (1, 2)
    # The request, a shard, its entry and ids made spare, and for each task a spare file and two commits.
    assert start(corpus[0], out, tokenizer_dir, 1, DIE_AT_A_COMMIT.replace("COUNT", "11")).wait() != 0
    found = {path: path.stat().st_mtime_ns for path in out.glob(".prepare/task-*.done")}
    assert len(found) > len(kept)
    assert found | kept == found


@pytest.mark.parametrize("suffix", [".tokens", ".done"])
@pytest.mark.parametrize("damage", [lambda data: data[:-2], lambda data: data[:-2] + b"\0?", lambda _: b""])
def test_a_segment_that_is_not_whole_is_made_again(
    tmp_path, corpus, tokenizer_dir, small_dataset, suffix, damage
):
    out = tmp_path / "out"
    assert start(corpus[0], out, tokenizer_dir, 1, DIE_AT_A_COMMIT.replace("COUNT", "8")).wait() != 0
    segment = out / ".prepare" / f"task-000000{suffix}"
    segment.write_bytes(damage(segment.read_bytes()))
    assert start(corpus[0], out, tokenizer_dir, 1).wait() == 0
    assert tree(out) == tree(small_dataset)


@pytest.fixture
def begun(tmp_path, tokenizer_dir):
    """Calls prepare on two sources, the second time with something changed."""
    sources = [write_jsonl(tmp_path / name, [f"text {name}"] * 9) for name in ("a.jsonl", "b.jsonl")]
    tokenizer = tmp_path / "tokenizer"
    shutil.copytree(tokenizer_dir, tokenizer)

    def call(**changes):
        arguments = {"sources": sources, "out": tmp_path / "out", "tokenizer": tokenizer, "seq_len": 4}
        return tstdata.prepare(**{**arguments, **changes})

    call.tokenizer, call.sources, call.out = tokenizer, sources, tmp_path / "out"
    return call


def stop_at(monkeypatch, step: str, run):
    """Runs, and is interrupted, as by Ctrl-C, at a step of building."""

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"tstdata.building.{step}", stop)
        with pytest.raises(KeyboardInterrupt):
            run()


def interrupt(begun, monkeypatch, step: str):
    """Calls prepare and ends it, as Ctrl-C does, when it comes to a step."""
    stop_at(monkeypatch, step, begun)


def change_source(begun):
    write_jsonl(begun.sources[1], ["other text"] * 9)


def change_tokenizer(begun):
    path = begun.tokenizer / "tokenizer_config.json"
    path.write_bytes(path.read_bytes() + b"\n")


CHANGES = [
    (lambda begun: begun(seq_len=8), "seq_len was 4, now 8"),
    (lambda begun: begun(text_key="id"), "text_key was 'text', now 'id'"),
    (lambda begun: begun(compression="zstd"), "compression was None, now 'zstd'"),
    (lambda begun: begun(bos=True), "bos_token was None, now"),
    (lambda begun: begun(eos_token="Ġ"), "eos_token was"),
    (lambda begun: begun(size_limit=9_999), "size_limit was 67108864, now 9999"),
    (lambda begun: begun(sources=begun.sources[:1]), r"source .*b\.jsonl is gone"),
    (lambda begun: begun(sources=begun.sources[::-1]), "the order of the sources changed"),
    (lambda begun: (change_source(begun), begun()), r"source .*b\.jsonl has other contents"),
    (lambda begun: (change_tokenizer(begun), begun()), r"tokenizer files tokenizer_config\.json was"),
]


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(("change", "words"), CHANGES, ids=[words for _, words in CHANGES])
def test_a_changed_recipe_tokenizer_or_source_is_refused_by_name(begun, monkeypatch, finished, change, words):
    if finished:
        begun()
    else:
        interrupt(begun, monkeypatch, "write_documents")
    before = tree(begun.out)
    with pytest.raises(ValueError, match=words):
        change(begun)
    assert tree(begun.out) == before


def test_unfinished_work_of_other_package_versions_is_refused(begun, monkeypatch):
    interrupt(begun, monkeypatch, "write_documents")
    monkeypatch.setattr("tstdata.making.package_versions", lambda: {"tokenizers": "0.0"})
    with pytest.raises(ValueError, match=r"package versions tokenizers was '.*', now '0\.0'"):
        begun()


def test_what_an_interrupted_write_left_aside_is_swept_away(begun, monkeypatch):
    begun(out=begun.out.with_name("clean"))
    interrupt(begun, monkeypatch, "write_documents")
    (begun.out / "documents").mkdir(exist_ok=True)
    for name in ("shard.00000.mds.77.tmp", "documents/documents.00000.parquet.77.tmp"):
        (begun.out / name).write_bytes(b"half")
    begun()
    assert tree(begun.out) == tree(begun.out.with_name("clean"))


def test_work_left_beside_a_finished_card_is_removed(begun):
    begun()
    before = tree(begun.out)
    (begun.out / ".prepare").mkdir()
    (begun.out / ".prepare" / "task-000000.tokens").write_bytes(b"")
    assert begun().already_done
    assert tree(begun.out) == before


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_an_output_that_is_not_ours_is_refused_and_left_alone(begun, kind):
    if kind == "file":
        begun.out.write_text("mine")
    else:
        begun.out.mkdir()
        (begun.out / "mine.txt").write_text("mine")
    before = tree(begun.out)
    with pytest.raises(FileExistsError, match=r"is a file|it has mine\.txt"):
        begun()
    assert tree(begun.out) == before
    assert begun.out.is_dir() == (kind == "directory")


def test_an_empty_directory_is_taken_as_output(begun):
    begun.out.mkdir()
    assert begun().card is not None


def test_streaming_finds_no_dataset_before_the_card(begun, monkeypatch):
    interrupt(begun, monkeypatch, "ShardWriter.finish")
    assert os.listdir(begun.out) == [".prepare"]
    with pytest.raises(Exception, match="index"), plain_streaming(local=str(begun.out), batch_size=1):
        pass
