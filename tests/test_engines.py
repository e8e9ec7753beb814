"""Which engine runs the tasks; the Ray engine's own laws are in tests/on_ray."""

import importlib.util
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor

import psutil
import pytest
from test_prepare import write_jsonl

import tstdata
from tstdata import tasks
from tstdata.engine import EncoderSpec
from tstdata.team import Team
from tstdata.tokenizer import KnownTokenizer


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
