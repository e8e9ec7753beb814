"""What `tst compare` leaves and prints."""

from pathlib import Path

import pytest
from finished_runs import FLOPS_A_POSITION, ROWS, SEQ_LEN, rows_of, seven_runs, write
from tst_tools import cli

from tstruns.compare import compare


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return seven_runs(tmp_path)


def test_runs_csv_has_the_totals_of_every_run(runs, tmp_path):
    compare(runs, tmp_path / "out")
    rows = {row["run"]: row for row in rows_of(tmp_path / "out" / "runs.csv")}
    assert set(rows) == set(map(str, runs))
    row = rows[str(tmp_path / "tst2")]
    assert (row["steps"], row["superposition_steps"], row["seed"]) == ("100", "50", "2")
    assert int(row["flops"]) == 100 * ROWS * SEQ_LEN * FLOPS_A_POSITION
    assert float(row["hours"]) == 1.0
    assert float(row["eval_loss"]) == 2.90


def test_the_command_prints_what_it_found_and_where_the_report_is(runs, tmp_path, capsys):
    assert cli.main(["compare", *map(str, runs), "--out", str(tmp_path / "out")]) == 0
    *sentences, path = capsys.readouterr().out.splitlines()
    assert Path(path).is_file()
    assert sentences == [
        "TST s=2 r=0.5, 100 steps ends 0.1000 below baseline, 100 steps at equal FLOPs "
        "(2.9000 against 3.0000): 6.5 standard errors over 3 and 2 seeds."
    ]


def test_a_name_out_of_a_config_is_text_and_no_markup(tmp_path):
    folders = [
        write(tmp_path / "a", 3.0),
        write(tmp_path / "b", 2.9, config={"precision": "<script>alert(1)</script>"}),
    ]
    page = compare(folders, tmp_path / "out").report.read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_report_asks_for_nothing_else(runs, tmp_path):
    page = compare(runs, tmp_path / "out").report.read_text()
    for asks in ("src=", "@import", "<script", '<link rel="stylesheet'):
        assert asks not in page
    assert 'href="http' not in page
    assert page.lstrip().startswith("<!DOCTYPE html>")
