"""Which engine runs the tasks; the Ray engine's own laws are in tests/on_ray."""

import importlib.util

import pytest
from test_prepare import write_jsonl

import tstdata
from tstdata import tasks


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
