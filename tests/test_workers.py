"""The workers of the pool: how they start, die and are told of, whatever the process is that wants them."""

import functools
import pickle
import select
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace

import psutil
import pytest
from conftest import SMALL_SEQ_LEN
from test_prepare import tree, write_jsonl
from test_resume import runs

import tstdata
from tstdata import tasks
from tstdata.engine import EncoderSpec
from tstdata.serving import portable
from tstdata.team import Team
from tstdata.tokenizer import KnownTokenizer


def when_progress_is_told(monkeypatch, act):
    """Calls `act` once, with the process that loaded and the workers that it forked."""
    once = threading.Lock()  # Each worker's driving thread tells of progress.

    def advance(self, *amounts):
        if once.acquire(blocking=False):
            # Other children may be there: Python's own tracker of shared memory is one.
            children = psutil.Process().children()
            (first,) = [child for child in children if "tstdata.worker" in child.cmdline()]
            workers = first.children()
            assert len(workers) == 2
            act(first, workers)

    monkeypatch.setattr("tstdata.progress.Progress.advance", advance)


def kill(*processes):
    for process in processes:
        process.kill()


@pytest.mark.parametrize("first_too", [False, True])
def test_a_killed_worker_is_told_of_and_a_rerun_finishes(
    tmp_path, corpus, tokenizer_dir, small_dataset, monkeypatch, first_too
):
    monkeypatch.setattr(tasks, "_TASK_BYTES", 50_000)
    out = tmp_path / "out"
    arguments = (corpus[0], out, tokenizer_dir, SMALL_SEQ_LEN)
    # Both workers, for one alone may have had its last task.
    when_progress_is_told(monkeypatch, lambda first, workers: kill(*([first] if first_too else []), *workers))
    how = "" if first_too else " with exit code -9"
    with pytest.raises(OSError, match=rf"a worker process died{how}.*run the same command again"):
        tstdata.prepare(*arguments, size_limit=70_000, workers=2)
    assert not (out / "dataset.json").exists()
    tstdata.prepare(*arguments, size_limit=70_000, workers=2)
    assert tree(out) == tree(small_dataset)


def test_the_process_that_loaded_is_alone_when_it_forks_and_missed_by_nobody(
    tmp_path, corpus, tokenizer_dir, small_dataset, monkeypatch
):
    found = []

    def act(first, workers):
        found.append((first.num_threads(), workers))
        kill(first)

    monkeypatch.setattr(tasks, "_TASK_BYTES", 50_000)
    when_progress_is_told(monkeypatch, act)
    tstdata.prepare(corpus[0], tmp_path / "out", tokenizer_dir, SMALL_SEQ_LEN, size_limit=70_000, workers=2)
    assert tree(tmp_path / "out") == tree(small_dataset)
    ((num_threads, workers),) = found
    assert num_threads == 1
    psutil.wait_procs(workers, timeout=60)
    assert not any(runs(worker.pid) for worker in workers)


@pytest.mark.parametrize("busy", [False, True])
def test_a_process_that_loads_for_workers_ends_when_its_input_ends(busy):
    command = [sys.executable, "-m", "tstdata.worker", ""]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as worker:
        if busy:
            forever = functools.partial(select.select, [], [], [])  # Of whatever it is called with: None.
            worker.stdin.write(pickle.dumps(SimpleNamespace(load=forever)))
        worker.stdin.close()
        try:
            assert worker.wait(timeout=60) == 0
        finally:
            worker.kill()


@pytest.mark.parametrize("number", [0, 1])
def test_the_death_of_each_worker_is_told_at_once_though_the_other_lives(tokenizer_dir, number):
    team = Team(2, EncoderSpec(str(tokenizer_dir), None, False, "reference", ()))
    known: Future[KnownTokenizer] = Future()
    known.set_result(team.load())
    assert team.choose(known) is None
    (first,) = (one for one in psutil.Process().children() if "tstdata.worker" in one.cmdline())
    workers = sorted(first.children(), key=lambda worker: (worker.create_time(), worker.pid))
    workers[number].kill()
    with ThreadPoolExecutor() as threads:
        try:
            waiting = threads.submit(team.wait, number, lambda *_: None)
            with pytest.raises(ChildProcessError, match="exit code -9"):
                waiting.result(timeout=30)
            assert workers[1 - number].is_running()
        finally:
            team.close()
    assert not psutil.wait_procs(workers, timeout=30)[1]


def test_more_workers_than_half_the_usual_limit_of_open_files_allows_can_be_talked_to():
    code = """
import resource
from tstdata.engine import EncoderSpec
from tstdata.team import Team
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
team = Team(60, EncoderSpec("", None, False, "reference", ()))
team.close()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


PREPARE = """
import signal, sys, tstdata, tstdata.tasks
tstdata.tasks._TASK_BYTES = 50
{before}
sources, out, tokenizer = sys.argv[1:]
tstdata.prepare(sources, out, tokenizer, 4, workers=2, progress=True)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_streams_that_are_closed_are_not_missed(tmp_path, tokenizer_dir, closed):
    write_jsonl(tmp_path / "a.jsonl", ["some text"] * 9)
    arguments = [tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir]
    command = ["bash", "-c", f'exec "$@" {closed}', "-", sys.executable, "-c", PREPARE.format(before="")]
    subprocess.run([*command, *map(str, arguments)], check=True, timeout=60)
    assert (tmp_path / "out" / "dataset.json").exists()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="an older Python can't be told to pass it over")
def test_modules_of_the_folder_that_one_works_in_are_not_pythons(tmp_path, tokenizer_dir):
    write_jsonl(tmp_path / "a.jsonl", ["some text"] * 9)
    (tmp_path / "queue.py").write_text("raise SystemExit(1)")
    before = "sys.path.remove('')"  # What a script would not have.
    command = [sys.executable, "-c", f"import sys; {before}\n" + PREPARE.format(before="")]
    arguments = [tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir]
    subprocess.run([*command, *map(str, arguments)], check=True, timeout=60, cwd=tmp_path)


def test_a_killed_worker_is_told_of_where_ended_children_are_ignored(tmp_path, tokenizer_dir):
    write_jsonl(tmp_path / "a.jsonl", ["some text"] * 9)
    before = """
import psutil, tstdata.progress
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def advance(self, *amounts):
    for one in psutil.Process().children(recursive=True)[1:]:
        one.kill()
tstdata.progress.Progress.advance = advance
"""
    arguments = [tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir]
    command = [sys.executable, "-c", PREPARE.format(before=before), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "a worker process died with exit code -9" in done.stderr


def test_errors_that_do_not_survive_the_way_arrive_as_what_they_say():
    class NeedsNameError(OSError):
        def __init__(self, *, place):
            super().__init__(f"no room at {place}")

    for error in (NeedsNameError(place="the disk"), OSError(threading.Lock())):
        found = pickle.loads(pickle.dumps(portable(error)))
        assert type(found) is OSError
        assert str(found) == str(error)
    kept = portable(FileNotFoundError(2, "gone", "a.jsonl"))
    assert (type(kept), kept.filename) == (FileNotFoundError, "a.jsonl")
