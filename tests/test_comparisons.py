"""The three comparisons of `tst compare`, held to a computation that a reader can do on paper."""

import math
import statistics
from pathlib import Path

import pytest
from finished_runs import ROWS, SEQ_LEN, of, rows_of, seven_runs, write

from tstruns.compare import compare


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return seven_runs(tmp_path)


def test_equal_flops_is_the_difference_of_means_over_seeds(runs, tmp_path):
    compare(runs, tmp_path / "out")
    row = of(rows_of(tmp_path / "out" / "comparisons.csv"), "equal_flops")
    assert row["arm"] == "TST s=2 r=0.5, 100 steps"
    assert row["baseline"] == "baseline, 100 steps"
    assert float(row["gain"]) == pytest.approx(3.00 - 2.90)
    assert (float(row["loss_deviation"]), row["seeds"]) == (pytest.approx(0.02), "3")
    by_hand = math.sqrt(statistics.variance([2.88, 2.90, 2.92]) / 3 + statistics.variance([2.99, 3.01]) / 2)
    assert float(row["standard_error"]) == pytest.approx(by_hand)


def test_equal_loss_lies_between_the_two_measured_lengths_around_it(runs, tmp_path):
    compare(runs, tmp_path / "out")
    row = of(rows_of(tmp_path / "out" / "comparisons.csv"), "equal_loss")
    assert row["reading"] == "interpolated"

    # 2.95 at 125 steps and 2.75 at 200: a quarter of the way down is a quarter of the way in log steps.
    def by_hand(loss):
        return 125 * (200 / 125) ** ((2.95 - loss) / (2.95 - 2.75)) / 100

    assert float(row["ratio"]) == pytest.approx(by_hand(2.90))
    assert float(row["ratio_low"]) == pytest.approx(by_hand(2.92))
    assert float(row["ratio_high"]) == pytest.approx(by_hand(2.88))


def test_equal_data_reads_the_baselines_at_the_tokens_that_tst_read(runs, tmp_path):
    compare(runs, tmp_path / "out")
    row = of(rows_of(tmp_path / "out" / "comparisons.csv"), "equal_data")
    # 50 steps of bags of 2 and 50 plain ones read what 150 plain steps read.
    assert int(row["tokens"]) == 150 * ROWS * SEQ_LEN
    assert float(row["flops_ratio"]) == pytest.approx(1.5)
    expected = 2.95 - 0.20 * math.log(150 / 125) / math.log(200 / 125)
    assert float(row["baseline_loss"]) == pytest.approx(expected)
    assert float(row["gain"]) == pytest.approx(expected - 2.90)


def test_nothing_is_said_beyond_the_longest_baseline_or_before_the_shortest(tmp_path):
    ladder = [write(tmp_path / f"base{steps}", loss, steps=steps) for steps, loss in ((100, 3.0), (200, 2.8))]
    ahead = write(tmp_path / "ahead", 2.7, bag_size=4, switch=50)
    behind = write(tmp_path / "behind", 3.1, bag_size=8, switch=50)
    compare([*ladder, ahead, behind], tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "comparisons.csv")
    readings = {
        (row["comparison"], row["arm"].split()[1]): (row["reading"], row["baseline_loss"]) for row in rows
    }
    assert readings["equal_loss", "s=4"][0] == "beyond"
    assert readings["equal_loss", "s=8"][0] == "before"
    # 250 and 450 steps' worth of text: no baseline read so much.
    assert readings["equal_data", "s=4"] == readings["equal_data", "s=8"] == ("beyond", "")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "beyond the longest baseline (200)" in page
    assert "above 2.00×" in page
    assert "before the shortest baseline (100)" in page


def test_decays_branched_from_a_stem_are_a_ladder_and_the_stem_is_none(tmp_path):
    stem = {"scheduler": {"name": "constant_with_warmup", "t_warmup": "10ba"}}
    stems = write(tmp_path / "stem", 3.2, steps=200, config=stem)
    branches = [
        write(
            tmp_path / f"branch{steps}",
            loss,
            steps=steps,
            config={
                "load_path": f"{stems}/checkpoints/ep0-ba{steps - 20}-rank0.pt",
                "scheduler": {"name": "wsd", "t_warmup": "10ba", "t_decay": "20ba"},
            },
        )
        for steps, loss in ((100, 3.0), (200, 2.8))
    ]
    tst = write(tmp_path / "tst", 2.9, bag_size=2, switch=50)
    compare([stems, *branches, tst], tmp_path / "out")
    row = of(rows_of(tmp_path / "out" / "comparisons.csv"), "equal_loss")
    assert row["baseline"] == "100, 200 steps, branched"
    assert float(row["ratio"]) == pytest.approx(math.sqrt(100 * 200) / 100)
    names = {row["arm"] for row in rows_of(tmp_path / "out" / "runs.csv")}
    assert "constant-rate stem, 200 steps" in names
    assert "baseline, 100 steps, branched from ep0-ba80" in names


def test_a_baseline_of_another_learning_rate_is_no_baseline_of_this_arm(tmp_path):
    other = write(tmp_path / "base", 3.0, config={"optimizer": {"name": "adamw", "lr": 0.001}})
    tst = write(tmp_path / "tst", 2.9, bag_size=2, switch=50)
    compare([other, tst], tmp_path / "out")
    assert rows_of(tmp_path / "out" / "comparisons.csv") == []
    assert "no finished baseline here differs from it" in (tmp_path / "out" / "report.html").read_text()


def test_of_two_baselines_of_one_length_the_better_counts(tmp_path):
    folders = [
        write(tmp_path / "good", 3.0),
        write(
            tmp_path / "bad", 3.1, config={"scheduler": {"name": "wsd", "t_warmup": "10ba", "t_decay": "5ba"}}
        ),
        write(tmp_path / "tst", 2.9, bag_size=2, switch=50),
    ]
    compare(folders, tmp_path / "out")
    row = of(rows_of(tmp_path / "out" / "comparisons.csv"), "equal_flops")
    assert float(row["baseline_loss"]) == 3.0
