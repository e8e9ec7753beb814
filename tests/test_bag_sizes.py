"""Final loss over bag size in `tst compare`: what is one line, what is its best, and where it is drawn."""

import pytest
from finished_runs import rows_of, write

from tstruns.arms import group_into_arms
from tstruns.bag_sizes import sweeps_of
from tstruns.compare import compare
from tstruns.finished_run import load_run


def sweeps(folders):
    return sweeps_of(group_into_arms([load_run(folder) for folder in folders]))


@pytest.fixture
def u_shape(tmp_path):
    """Bags of 2, 4 and 8 at r = 0.3, s = 4 twice and best; a baseline of as many steps and a longer one."""
    return [
        write(tmp_path / "s8", 2.95, bag_size=8, switch=30),
        write(tmp_path / "s2", 2.92, bag_size=2, switch=30),
        *(
            write(tmp_path / f"s4-{seed}", 2.8 + seed / 50, bag_size=4, switch=30, seed=seed)
            for seed in (1, 2)
        ),
        write(tmp_path / "base", 3.0),
        write(tmp_path / "longer", 2.7, steps=200),
    ]


def test_a_sweep_has_the_mean_over_seeds_of_every_bag_size_and_the_baseline_as_one(u_shape):
    (sweep,) = sweeps(u_shape)
    assert sweep.label == "TST r=0.3, 100 steps"
    assert sweep.sizes == (1, 2, 4, 8)
    assert [loss.mean for loss in sweep.losses] == [pytest.approx(one) for one in (3.0, 2.92, 2.83, 2.95)]
    assert sweep.best == 4


@pytest.mark.parametrize("without", [{"s4-1", "s4-2", "s8"}, {"s2", "s8"}])
def test_one_bag_size_alone_is_no_sweep(u_shape, without):
    assert sweeps([folder for folder in u_shape if folder.name not in without]) == []


def test_arms_of_another_length_ratio_weighting_or_rate_are_another_sweep(tmp_path):
    power = {"algorithms": {"token_superposition": {"weighting": "power_law", "mode": "full"}}}
    slow = {"optimizer": {"name": "adamw", "lr": 0.001}}
    settings = [
        {},
        {"steps": 200, "switch": 60},
        {"switch": 50},
        {"config": power},
        {"config": slow},
    ]
    folders = [
        write(tmp_path / f"{number}-{size}", 2.9, bag_size=size, **{"switch": 30, **setting})
        for number, setting in enumerate(settings)
        for size in (2, 4)
    ]
    folders.append(write(tmp_path / "base", 3.0))
    found = sweeps(folders)
    assert sorted(sweep.label for sweep in found) == [
        "TST r=0.3 power law, 100 steps, lr 0.004",
        "TST r=0.3, 100 steps, lr 0.001",
        "TST r=0.3, 100 steps, lr 0.004",
        "TST r=0.3, 200 steps, lr 0.004",
        "TST r=0.5, 100 steps, lr 0.004",
    ]
    # The baseline is one of the same length and learning rate.
    assert sorted(sweep.sizes for sweep in found) == [(1, 2, 4)] * 3 + [(2, 4)] * 2


def test_the_report_draws_and_lists_it_and_the_csv_has_its_numbers(u_shape, tmp_path):
    page = compare(u_shape, tmp_path / "out").report.read_text()
    assert "Final loss by bag size" in page
    rows = [
        (row["arm"], row["bag_size"], float(row["loss"]))
        for row in rows_of(tmp_path / "out" / "comparisons.csv")
        if row["comparison"] == "bag_size"
    ]
    label = "TST r=0.3, 100 steps"
    assert rows == [
        (label, size, pytest.approx(loss))
        for size, loss in (("1", 3.0), ("2", 2.92), ("4", 2.83), ("8", 2.95))
    ]
    few = compare([u_shape[0], u_shape[4]], tmp_path / "few").report.read_text()
    assert "Final loss by bag size" not in few
