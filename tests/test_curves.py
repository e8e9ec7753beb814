"""The curves of `tst compare`: means and ranges over seeds, the switch marked."""

import pytest
from finished_runs import FLOPS_A_POSITION, ROWS, SEQ_LEN, write

from tstruns.arms import group_into_arms
from tstruns.compare import compare
from tstruns.curves import AXES, compared_from, eval_curve, switch_at, train_curve
from tstruns.finished_run import load_run


def test_curves_are_means_and_ranges_over_seeds_and_mark_the_switch(tmp_path):
    folders = [
        write(tmp_path / f"tst{seed}", 2.8 + seed / 10, bag_size=2, switch=50, seed=seed) for seed in (1, 2)
    ]
    (arm,) = group_into_arms([load_run(folder) for folder in folders])
    axes = {axis.name: axis for axis in AXES}
    per_step = ROWS * SEQ_LEN
    # Evaluated every 25 steps, 0.01 above the final loss for each step that is left.
    found = [(point.at, point.low, point.mean, point.high) for point in eval_curve(arm, axes["steps"])]
    expected = [
        (step, 2.9 + left / 100, 2.95 + left / 100, 3.0 + left / 100)
        for step, left in ((25, 75), (50, 50), (75, 25), (100, 0))
    ]
    assert [pytest.approx(point) for point in expected] == found
    assert [point.at for point in eval_curve(arm, axes["tokens"])] == [
        50 * per_step,
        100 * per_step,
        125 * per_step,
        150 * per_step,
    ]
    assert [switch_at(arm, axes[name]) for name in ("steps", "flops", "tokens")] == [
        50,
        50 * per_step * FLOPS_A_POSITION,
        100 * per_step,
    ]
    assert switch_at(arm, axes["hours"]) == pytest.approx(0.5)
    # The loss on bags is another measure: the training curve begins after the switch.
    trained = train_curve(arm, axes["steps"])
    assert [point.at for point in trained] == list(range(51, 101))
    assert trained[0].mean == pytest.approx(2.95 + 50 / 51)


def test_an_axis_is_as_high_as_what_is_compared_and_not_as_the_steep_beginnings():
    assert compared_from(100, None) == 40
    assert compared_from(100, 10) == 40
    # Phase (i), and the fall after it: 15 % of what is left.
    assert compared_from(100, 60) == pytest.approx(66)


def test_the_report_marks_the_switch_of_every_tst_arm_in_every_plot_of_curves(tmp_path):
    def dashed(*folders):
        return compare(folders, tmp_path / "out").report.read_text().count("stroke-dasharray")

    base, other = write(tmp_path / "base", 3.0), write(tmp_path / "other", 3.0, seed=2)
    tst = write(tmp_path / "tst", 2.9, bag_size=2, switch=50)
    assert dashed(base, other) == 0
    assert dashed(base, tst) == 4
