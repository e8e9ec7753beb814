"""Kill -9 of ranks and workers at random moments: every batch that is read afterwards is the right one."""

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import kill_training


@pytest.mark.slow
def test_killed_runs_go_on_from_their_checkpoints_with_exactly_the_tail(tmp_path):
    kills = 50
    table = kill_training.kill_often(tmp_path, kills, random.Random(kills))
    print(table.text())
    assert len(table.kills) == kills
    assert table.equal == table.compared
    assert table.compared > 2 * kill_training.BATCHES
    assert table.resumed > 5
