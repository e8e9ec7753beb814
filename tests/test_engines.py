"""Which engine runs the tasks; the Ray engine's own laws are in tests/on_ray."""

import importlib.util
import pickle
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import psutil
import pytest
from test_prepare import write_jsonl

import tstdata
from tstdata import tasks
from tstdata.engine import EncoderSpec
from tstdata.team import Team
from tstdata.tokenizer import KnownTokenizer
from tstdata.worker import portable


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed here")
def test_ray_that_is_not_installed_is_refused_with_the_way_to_get_it(tmp_path, tokenizer_dir):
    write_jsonl(tmp_path / "a.jsonl", ["text"] * 9)
    with pytest.raises(ValueError, match=r"needs Ray: pip install 'tst-toolkit\[ray\]'"):
        tstdata.prepare(tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir, 4, engine="ray")
    assert not (tmp_path / "out").exists()


def test_an_engine_that_does_not_exist_is_refused(tmp_path, tokenizer_dir):
    write_jsonl(tmp_path / "a.jsonl", ["text"])
    with pytest.raises(ValueError, match="engine is 'spark'; it can be one of local, ray"):
        tstdata.prepare(tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir, 4, engine="spark")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_tokenizer_that_workers_can_not_use_is_refused_as_in_one_process(
    tmp_path, tokenizer_dir, monkeypatch, workers
):
    alone = tmp_path / "ids.json"
    alone.write_bytes((tokenizer_dir / "tokenizer.json").read_bytes())
    for number in range(2):
        write_jsonl(tmp_path / f"{number}.jsonl", ["some text"] * 9)
    monkeypatch.setattr(tasks, "_TASK_BYTES", 50)
    sources = sorted(tmp_path.glob("?.jsonl"))
    with pytest.raises(ValueError, match="names no eos_token, and it is never guessed: give --eos-token"):
        tstdata.prepare(sources, tmp_path / "out", alone, 4, workers=workers)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [0, 1])
def test_the_death_of_each_worker_is_told_at_once_though_the_other_lives(tokenizer_dir, number):
    team = Team(2)
    known: Future[KnownTokenizer] = Future()
    known.set_result(team.load(EncoderSpec(str(tokenizer_dir), None, False, "reference", ())))
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
from tstdata.team import Team
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
team = Team(60)
team.close()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


PREPARE = """
import signal, sys, tstdata, tstdata.tasks
tstdata.tasks._TASK_BYTES = 50
{before}
sources, out, tokenizer = sys.argv[1:]
tstdata.prepare(sources, out, tokenizer, 4, workers=2)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-"])
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
