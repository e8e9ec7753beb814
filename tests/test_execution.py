"""Laws of `fsdp_config` and `compile_config`: the same run, sharded over ranks or compiled.

Run as a script this file is one rank: `test_execution.py FRESH.yaml STARTED.yaml`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_run import metrics_without_times, run, write_run

from tstruns import RunDirectory

pytestmark = [
    # Composer says so of any resumption by fewer ranks.
    pytest.mark.filterwarnings("ignore:The current world size:UserWarning"),
    # What dynamo itself warns of.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
]
NUM_BATCHES, STOP = 12, 4  # inside the superposition phase
# A run that may be made longer in the middle of its schedule, with gradient norms, which say more than losses
# do: Adam trains the same on gradients twice as large.
COMMON = (
    "callbacks.optimizer_monitor={log_optimizer_metrics: false, batch_log_interval: 1}",
    "scheduler.t_decay=0ba",
    "eval_interval=4ba",
)
NO_CACHE = "model.config.use_cache=false"
SHARDED = (*COMMON, NO_CACHE, "fsdp_config={activation_checkpointing: true}")


def metrics(run_dir: Path) -> list[dict]:
    """The run's metrics, but norms of single weights: they have other names in layers that are run again."""
    lines = metrics_without_times(run_dir)
    return [{k: v for k, v in line.items() if not k.startswith("l2_norm/grad/model")} for line in lines]


def assert_same_run(run_dir: Path, other: Path) -> None:
    ours, theirs = metrics(run_dir), metrics(other)
    assert "l2_norm/grad/global" in ours[0]
    assert len(ours) == len(theirs) == NUM_BATCHES
    for first, second in zip(ours, theirs, strict=True):
        # Ranks sum in another order; ten times what was measured.
        assert first == pytest.approx(second, rel=1e-4), (first, second)


@pytest.fixture(scope="module")
def alone(small_dataset, tmp_path_factory):
    """One process that nobody stopped."""
    folder = tmp_path_factory.mktemp("alone")
    run(write_run(folder, small_dataset), *COMMON)
    return folder / "run"


@pytest.fixture(scope="module")
def sharded(small_dataset, tmp_path_factory):
    """The YAMLs of a run that two sharded ranks began, and of one that they went on with to its end."""
    folder = tmp_path_factory.mktemp("sharded")
    begun, ended = (write_run(folder, small_dataset, name) for name in ("begun", "ended"))
    run(ended, *COMMON, f"max_duration={STOP}ba")
    launcher = [sys.executable, "-m", "composer.cli.launcher", "-n", "2", __file__, str(begun), str(ended)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launcher, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return begun, ended


@pytest.mark.slow
def test_two_sharded_ranks_go_on_with_the_run_of_one_process(sharded, alone):
    directory = RunDirectory(sharded[1].parent / "ended")
    assert directory.summary()["num_ranks"] == 2
    assert_same_run(directory.path, alone)


@pytest.mark.slow
def test_one_process_goes_on_with_the_run_of_two_sharded_ranks(sharded, alone):
    directory = RunDirectory(sharded[0].parent / "begun")
    run(sharded[0], *COMMON)
    assert directory.summary()["num_ranks"] == 1
    assert_same_run(directory.path, alone)


@pytest.mark.slow
def test_checkpoint_of_sharded_ranks_is_an_ordinary_one(sharded, alone):
    ours, theirs = (
        torch.load(folder / "checkpoints" / "latest-rank0.pt", weights_only=False)["state"]["model"]
        for folder in (sharded[1].parent / "ended", alone)
    )
    assert {name: weight.shape for name, weight in ours.items()} == {
        name: weight.shape for name, weight in theirs.items()
    }


def test_compiled_run_has_the_losses_of_the_same_run_in_eager_mode(small_dataset, alone, tmp_path):
    file = write_run(tmp_path, small_dataset)
    run(file, *COMMON, NO_CACHE, "compile_config={backend: eager, fullgraph: true}")
    assert_same_run(tmp_path / "run", alone)


def test_compiler_that_is_not_there_is_refused_before_anything_is_trained(small_dataset, tmp_path):
    with pytest.raises(
        ValueError, match=r"compile_config.backend: found 'inducter'; did you mean 'inductor'"
    ):
        run(write_run(tmp_path, small_dataset), NO_CACHE, "compile_config={backend: inducter}")


def test_fsdp_on_one_rank_is_the_plain_run_bit_for_bit(small_dataset, alone, tmp_path):
    run(write_run(tmp_path, small_dataset), *COMMON, "fsdp_config={}")
    assert metrics_without_times(tmp_path / "run") == metrics_without_times(alone)


if __name__ == "__main__":
    begun, ended = map(Path, sys.argv[1:])
    run(begun, *SHARDED, f"max_duration={STOP}ba")
    run(ended, *SHARDED)
