"""What the paper measured is shown as measured: every loss in a report stands in one of its tables."""

import csv
import json
import re
from pathlib import Path

import pytest
from tst_tools import cli

import tstruns
from tstruns.paper_results import main_results, nearest_sweep, neighbours, sweeps

TABLES = Path(tstruns.__file__).parent / "paper"


def table(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((TABLES / name).read_text().splitlines()))


@pytest.mark.parametrize(
    "sweep", sweeps(), ids=lambda sweep: f"{sweep.model}-{sweep.total_steps}-{sweep.weighting}"
)
def test_a_measured_point_is_shown_as_its_table_has_it(sweep):
    name = f"final_loss_{sweep.model.lower()}_{sweep.total_steps // 1000}k_{sweep.weighting}.csv"
    rows = [row for row in table(name) if row["bag_size"] != "1"]
    assert len(rows) == len(sweep.points) > 100
    assert nearest_sweep(sweep.total_params, sweep.equivalent_tokens, sweep.weighting) is sweep
    for row in rows:
        found = neighbours(sweep, int(row["bag_size"]), float(row["superposition_ratio"]))
        assert found.is_measured
        assert [point.final_loss for point in found.points] == [float(row["final_loss"])]
        assert found.points[0].difference == pytest.approx(
            float(row["final_loss"]) - sweep.baseline_loss, abs=1e-9
        )


def test_the_sweeps_agree_with_the_main_results_as_far_as_these_are_printed():
    for row in main_results():
        lengths = [s for s in sweeps() if (s.model, s.total_steps) == (row.params, row.total_steps)]
        for sweep in lengths if "reinit" not in row.model else []:
            if row.bag_size > 1 and sweep.weighting == "uniform":
                loss = (
                    neighbours(sweep, row.bag_size, row.superposition_steps / row.total_steps)
                    .points[0]
                    .final_loss
                )
            else:
                loss = sweep.baseline_loss if row.bag_size == 1 else row.final_loss
            assert loss == pytest.approx(row.final_loss, abs=1e-3)


@pytest.mark.parametrize(
    ("bag_size", "ratio", "sizes", "ratios", "outside"),
    [
        (6, 0.25, {6}, {0.2, 0.3}, ()),
        (6, 0.3, {6}, {0.3}, ()),
        (40, 0.3, {16}, {0.3}, ("bag_size",)),
        (40, 0.04, {16}, {0.1}, ("bag_size", "superposition_ratio")),
    ],
)
def test_an_unmeasured_point_shows_only_the_measured_ones_around_it(bag_size, ratio, sizes, ratios, outside):
    found = neighbours(sweeps()[0], bag_size, ratio)
    assert {point.bag_size for point in found.points} == sizes
    assert {point.superposition_ratio for point in found.points} == ratios
    assert found.outside == outside
    assert found.is_measured == (bag_size == 6 and ratio == 0.3)


def test_every_loss_in_a_report_is_printed_in_a_table_of_the_paper(capsys):
    measured = {
        f"{float(row['final_loss']):.4f}" for file in TABLES.glob("final_loss*") for row in table(file.name)
    }
    measured |= {f"{row.final_loss:.3f}" for row in main_results()}
    for arguments in (
        ["270m-20k-tst"],
        ["600m", "--steps", "9000"],
        ["10b-a1b-50k-tst"],
        ["3b-20k-tst-reinitialised"],
    ):
        extra = ["--bag-size", "9", "--superposition-ratio", "0.27"] if len(arguments) > 1 else []
        assert cli.main(["plan", "--model", *arguments, *extra]) == 0
        losses = re.findall(r"(?:final loss|baseline) (\d\.\d+)", capsys.readouterr().out)
        assert losses
        assert set(losses) <= measured


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [
        (["3b-20k-tst"], "Other scale: 561M"),
        (["10b-a1b-50k-tst"], "mixture of experts"),
        (["270m-20k-tst", "--weighting", "exponential"], "was not swept; the points shown are of 'uniform'"),
        (["270m-40k-output-only"], "only run at s = 4, r = 0.5"),
        (["270m-20k-tst", "--bag-size", "40"], "Beyond the sweep in bag_size"),
        (["3b-20k-tst", "--global-batch-size", "64"], "No run of the paper had fewer than 12.6"),
    ],
)
def test_what_the_sweep_does_not_say_is_said(arguments, limit, capsys):
    assert cli.main(["plan", "--model", *arguments, "--json"]) == 0
    assert any(limit in said for said in json.loads(capsys.readouterr().out)["paper"]["limits"])
