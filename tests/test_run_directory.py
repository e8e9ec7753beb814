"""A run directory: which config may go on in it, which checkpoint, and which lines of its metrics."""

import json
import os
from pathlib import Path

import pytest
from small_run import write_run

from tstruns import RunDirectory, read_config
from tstruns.checkpoints import finished_checkpoints
from tstruns.run_lock import RunLock


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    """The YAML of a run that has a directory and no batch: it was refused for its data, say."""
    file = write_run(tmp_path, tmp_path / "data")
    claim(file)
    return file


@pytest.fixture
def claimed(refused: Path) -> Path:
    """The YAML of a run that has trained one batch."""
    RunDirectory(refused.parent / "run").metrics_file.write_text('{"batch": 1}\n')
    return refused


def claim(file: Path, *overrides: str) -> bool:
    config = read_config(file, overrides)
    run = RunDirectory(config.run_dir)
    try:
        return run.claim(config)
    finally:
        run.lock.release()


def test_a_changed_config_is_refused_naming_each_key_with_both_values(claimed):
    with pytest.raises(ValueError, match="made with another config") as raised:
        claim(claimed, "seed=6", "optimizer.lr=1e-3", "model.config.hidden_size=32", "eval_loader=null")
    text = str(raised.value)
    assert "seed: 5 there, 6 now" in text
    assert "optimizer.lr: 0.004 there, 0.001 now" in text
    assert "model.config.hidden_size: 16 there, 32 now" in text
    assert "eval_loader.name: 'bag_shards' there, None now" in text


def test_an_algorithm_without_arguments_is_part_of_the_config(claimed):
    with pytest.raises(ValueError, match=r"algorithms.reinitialise_embeddings: None there, \{\} now"):
        claim(claimed, "algorithms.reinitialise_embeddings={}")


def test_a_run_that_trained_nothing_binds_nobody_to_its_config(refused):
    assert not claim(refused, "seed=6", "model.config.hidden_size=32")
    assert RunDirectory(refused.parent / "run").config()["seed"] == 6


def test_what_changes_no_loss_may_change(claimed):
    assert not claim(claimed, "train_loader.num_workers=2", "callbacks.lr_monitor={}", "save_interval=3ba")


def test_max_duration_may_grow_and_not_shrink(claimed):
    assert not claim(claimed, "max_duration=20ba")
    with pytest.raises(ValueError, match="max_duration: '20ba' there, '12ba' now; it may only grow"):
        claim(claimed)
    with pytest.raises(ValueError, match="in the same unit"):
        claim(claimed, "max_duration=2000sp")


def test_a_finished_run_is_finished_until_it_is_made_longer(claimed, tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.finish({"max_duration": "12ba"})
    assert claim(claimed)
    assert not claim(claimed, "max_duration=13ba")
    assert run.summary() is None


def test_two_processes_do_not_train_in_one_directory(tmp_path):
    first, second = RunLock(tmp_path / ".lock"), RunLock(tmp_path / ".lock")
    first.acquire()
    with pytest.raises(ValueError, match=f"is being trained by process {os.getpid()}"):
        second.acquire(patience=0.2)
    first.release()
    second.acquire(patience=0)
    second.release()


def test_a_directory_with_other_files_is_refused(tmp_path):
    file = write_run(tmp_path, tmp_path / "data")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match=r"holds files but no config\.yaml"):
        claim(file)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_lines_beyond_the_resumed_batch_are_dropped_and_a_cut_one_too(tmp_path):
    run = RunDirectory(tmp_path)
    lines = [json.dumps({"batch": batch, "loss": batch / 3}) + "\n" for batch in range(1, 6)]
    run.metrics_file.write_text("".join(lines) + '{"batch": 6, "lo')
    run.drop_metrics_from(4)
    assert run.metrics_file.read_text() == "".join(lines[:3])


def test_a_checkpoint_cut_short_is_deleted_and_the_one_before_is_taken(tmp_path, caplog):
    import torch

    for batch in (90, 100):
        torch.save({"batch": batch}, tmp_path / f"ep0-ba{batch}-rank0.pt")
    whole = tmp_path / "ep0-ba90-rank0.pt"
    cut = tmp_path / "ep0-ba100-rank0.pt"
    cut.write_bytes(cut.read_bytes()[:-20])
    (tmp_path / "latest-rank0.pt").symlink_to(cut.name)
    assert finished_checkpoints(tmp_path) == [whole]
    assert not cut.exists()
    assert "was cut short" in caplog.text


def test_checkpoints_are_ordered_by_batch_and_not_by_name(tmp_path):
    import torch

    for name in ("ep0-ba9-rank0.pt", "ep1-ba100-rank0.pt", "ep0-ba20-rank0.pt"):
        torch.save({}, tmp_path / name)
    assert [path.name for path in finished_checkpoints(tmp_path)] == [
        "ep0-ba9-rank0.pt",
        "ep0-ba20-rank0.pt",
        "ep1-ba100-rank0.pt",
    ]
