"""The reproduction runs from nothing to its tables: that it runs, never that TST wins."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from tstruns import read_config

ROOT = Path(__file__).resolve().parent.parent / "benchmarks" / "reproduction"
sys.path.insert(0, str(ROOT))

import experiment as table  # noqa: E402


@pytest.mark.parametrize("name", ["arms.yaml", "quick.yaml"])
def test_every_run_of_the_table_is_a_config_that_tst_train_takes(name, tmp_path):
    import yaml

    experiment = table.load(ROOT / name)
    seen = set()
    for run in experiment.runs():
        file = tmp_path / "run.yaml"
        file.write_text(yaml.safe_dump(table.config_of(experiment, run, tmp_path)))
        config = read_config(file)
        assert config.run_dir not in seen
        seen.add(config.run_dir)
        arm = experiment.arms[run.arm]
        assert (config.algorithms.token_superposition is not None) == (arm.bag_size > 1)


def test_the_table_has_what_the_issue_asks_of_it():
    experiment = table.load(ROOT / "arms.yaml")
    arms = experiment.arms
    assert len(arms["baseline"].seeds) >= 3 <= len(arms["s2"].seeds)
    lengths = {name: arm.steps / arms["baseline"].steps for name, arm in arms.items()}
    ladder = [lengths[name] for name in experiment.reports["main"] if arms[name].bag_size == 1]
    assert ladder == [1.0, 1.25, 1.5, 2.0]
    assert {arms[name].bag_size for name in experiment.reports["bag-sizes"]} == {1, 2, 3, 4, 6}


def test_a_name_that_means_nothing_is_refused(tmp_path):
    text = (ROOT / "quick.yaml").read_text()
    (tmp_path / "table.yaml").write_text(text.replace("lower: s2,", "lower: s9,"))
    with pytest.raises(ValueError, match="names s9, of which it says nothing else"):
        table.load(tmp_path / "table.yaml")


@pytest.mark.slow
def test_the_quick_reproduction_runs_goes_on_and_reports(tmp_path):
    page = tmp_path / "docs" / "reproduction.md"
    page.parent.mkdir()
    page.write_text((ROOT.parent.parent / "docs" / "reproduction.md").read_text())
    out = page.with_suffix("")
    command = [
        sys.executable,
        str(ROOT / "run.py"),
        "--quick",
        "--work",
        str(tmp_path),
        "--report-to",
        str(out),
    ]
    first = subprocess.run([*command, "--only", "baseline", "s2"], capture_output=True, text=True)
    assert first.returncode == 0, first.stderr[-3000:]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/summary.json")}
    assert "**4 of 6 runs.**" in page.read_text()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(before) == 4
    assert "**6 of 6 runs.**" in page.read_text()
    assert before == {path: path.stat().st_mtime_ns for path in before}
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["arm"] for row in rows) == sorted(
        ["baseline"] * 2 + ["s2"] * 2 + ["s2-output-only", "baseline-1.5x"]
    )
    with (tmp_path / "claims.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    assert (tmp_path / "reports" / "main" / "report.html").is_file()
    names = {"results.csv", "curves.csv", "claims.csv", "curves.svg"}
    assert {path.name for path in out.iterdir()} == names
    assert all((tmp_path / name).read_bytes() == (out / name).read_bytes() for name in names)
