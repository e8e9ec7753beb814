"""Kill -9 at random moments, of parents and workers: the dataset that comes out is the same byte by byte."""

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import kills


def check(table: kills.Table, number: int) -> None:
    print(table.text())
    assert len(table.kills) == number
    assert table.equal
    assert all(table.equal)
    # With few kills, all may have come before the first task was done.
    assert number < 10 or sum(kill.kept > 0 for kill in table.kills) > 3


@pytest.mark.parametrize("number", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_kills_at_random_moments_do_not_change_a_byte(tmp_path, number):
    out = kills.Directory(tmp_path / "out")
    check(kills.kill_often(tmp_path, out, number, random.Random(number)), number)


@pytest.mark.slow
def test_kills_do_not_change_a_byte_in_a_store(tmp_path, object_store):
    out = kills.Bucket(object_store, tmp_path / "scratch")
    check(kills.kill_often(tmp_path, out, 30, random.Random(30)), 30)
