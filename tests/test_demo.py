"""The demo with tiny settings through the code path of the real one: what it leaves, prints and says."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tstruns.demo import run_demo
from tstruns.demo_picture import smoothed
from tstruns.demo_report import conclusion, table
from tstruns.demo_settings import ARMS, DemoSettings, arm_config
from tstruns.demo_text import collect_text
from tstruns.run_directory import RunDirectory

TINY = DemoSettings(
    vocab_size=300,
    seq_len=16,
    hidden_size=16,
    num_layers=1,
    rows=4,
    steps=20,
    train_bytes=60_000,
    heldout_bytes=20_000,
)
TRAIN = [sys.executable, "-m", "tst_tools", "train"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The directory of a tiny demo, and the lines it printed."""
    out = tmp_path_factory.mktemp("demo") / "out"
    code = (
        "import pathlib\nfrom tstruns.demo import run_demo\nfrom tstruns.demo_settings import DemoSettings\n"
        f"run_demo(pathlib.Path({str(out)!r}), {TINY!r}, {TRAIN!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "4/4 training the baseline and TST side by side" in done.stderr
    return out, done.stdout.splitlines()


@pytest.mark.slow
def test_the_last_line_printed_is_the_path_of_results_that_hold_all_that_was_promised(finished):
    out, printed = finished
    assert Path(printed[-1]) == (out / "results.json").resolve()
    results = json.loads(Path(printed[-1]).read_text())
    for name, arm in results["arms"].items():
        summary = RunDirectory(out / name).summary()
        assert arm["steps"] == summary["steps"] == TINY.steps
        assert arm["train_loss"] == summary["train_loss"]
        assert arm["eval_loss"] == summary["eval"]["metrics/eval/LanguageCrossEntropy"]
        assert arm["wall_seconds"] > 0
    assert Path(results["picture"]).read_bytes().startswith(b"\x89PNG")
    assert results["conclusion"] in printed


@pytest.mark.slow
def test_arms_cost_equal_flops_and_tst_reads_more_text(finished):
    arms = json.loads((finished[0] / "results.json").read_text())["arms"]
    assert arms["baseline"]["equivalent_tokens"] == arms["tst"]["equivalent_tokens"] == 20 * 4 * 16
    assert arms["baseline"]["tokens"] == 20 * 4 * 16
    # P = 6 of 20 steps read s times as much.
    assert arms["tst"]["tokens"] == (20 + 6 * (TINY.bag_size - 1)) * 4 * 16
    assert arms["baseline"]["num_parameters"] == arms["tst"]["num_parameters"]


@pytest.mark.slow
def test_the_table_has_a_row_for_each_arm_with_its_numbers(finished):
    arms = json.loads((finished[0] / "results.json").read_text())["arms"]
    lines = table(arms).splitlines()
    assert lines == finished[1][: len(lines)]
    for name, line in zip(ARMS, lines[2:], strict=True):
        cells = re.split(r"\s{2,}", line)
        expected = [name, "20", f"{arms[name]['tokens']:,}"]
        assert cells[:3] == expected
        assert float(cells[4]) == pytest.approx(arms[name]["eval_loss"], abs=1e-4)


@pytest.mark.slow
def test_a_second_call_trains_nothing_and_reports_the_same(finished, tmp_path, capsys):
    out = tmp_path / "again"
    shutil.copytree(finished[0], out, symlinks=True)
    run_demo(out, TINY, ["no-such-command"])
    first, second = (json.loads((folder / "results.json").read_text()) for folder in (finished[0], out))
    assert second["arms"] == first["arms"]
    assert Path(capsys.readouterr().out.splitlines()[-1]) == (out / "results.json").resolve()


@pytest.mark.slow
def test_a_directory_of_something_else_or_of_another_demo_is_refused(finished, tmp_path):
    with pytest.raises(ValueError, match="holds a demo with other settings"):
        run_demo(finished[0], replace(TINY, steps=30), TRAIN)
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="is not empty and holds no demo"):
        run_demo(tmp_path, TINY, TRAIN)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_an_arm_that_fails_is_told_with_what_it_said(finished, tmp_path):
    out = tmp_path / "broken"
    shutil.copytree(finished[0], out, symlinks=True)
    shutil.rmtree(out / "tst")
    command = [sys.executable, "-c", "import sys; sys.exit('no such luck')"]
    with pytest.raises(ValueError, match=r"arm stopped with exit code 1: no such luck"):
        run_demo(out, TINY, command)


def test_no_file_is_in_both_parts_and_the_choice_is_always_the_same():
    text = collect_text(200_000, 100_000)
    assert text == collect_text(200_000, 100_000)
    assert not {*text.train} & {*text.heldout}
    assert sum(path.stat().st_size for path in text.heldout) >= 100_000


@pytest.mark.parametrize(
    ("baseline", "tst", "verdict"),
    [
        (2.9, 2.8, "0.1000 below it: ahead"),
        (2.8, 2.9, "0.1000 above it: behind"),
        (2.8, 2.801, "level with it"),
        (2.83, 2.8, "level with it"),
    ],
)
def test_the_sentence_says_what_the_numbers_say(baseline, tst, verdict):
    arms = {
        name: {"eval_loss": loss, "steps": 20, "num_parameters": 1000}
        for name, loss in (("baseline", baseline), ("tst", tst))
    }
    assert verdict in conclusion(arms, TINY)


def test_arms_differ_in_superposition_and_name_only(tmp_path):
    baseline, tst = (arm_config(TINY, arm, tmp_path) for arm in ARMS)
    assert tst["algorithms"].pop("token_superposition") == {}
    assert tst["train_loader"]["dataset"].pop("bag_size") == TINY.bag_size
    assert tst["train_loader"]["dataset"].pop("superposition_batches") == TINY.switch == 6
    assert tst.pop("run_dir") != baseline.pop("run_dir")
    assert tst == baseline


def test_smoothing_takes_means_of_windows():
    assert smoothed([(1, 4.0), (2, 2.0), (3, 6.0)], 2) == ([1.5, 3.0], [3.0, 6.0])
