"""The reproduction runs from nothing to its tables: that it runs, never that TST wins."""

import csv
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from tstruns import read_config

ROOT = Path(__file__).resolve().parent.parent / "benchmarks" / "reproduction"
sys.path.insert(0, str(ROOT))

import experiment as table  # noqa: E402
from page import markers  # noqa: E402
from repetition import MEASURES, measure, repeats_a_pair, token_losses  # noqa: E402


@pytest.mark.parametrize("name", ["main", "scale", "quick"])
def test_every_run_of_the_table_is_a_config_that_tst_train_takes(name, tmp_path):
    import yaml

    experiment = table.load_table(name)
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
    experiment = table.load_table("main")
    arms = experiment.arms
    assert len(arms["baseline"].seeds) >= 3 <= len(arms["s2"].seeds)
    lengths = {name: arm.steps / arms["baseline"].steps for name, arm in arms.items()}
    ladder = [lengths[name] for name in experiment.reports["main"] if arms[name].bag_size == 1]
    assert ladder == [1.0, 1.25, 1.5, 2.0]
    assert {arms[name].bag_size for name in experiment.reports["bag-sizes"]} == {1, 2, 3, 4, 6}


def test_an_arm_of_both_tables_is_one_run():
    main, scale = map(table.load_table, table.TABLES)
    shared = {run.name: run for run in main.runs()}.keys() & {run.name: run for run in scale.runs()}.keys()
    assert {"baseline-seed1", "s2-seed1"} <= shared
    for run in main.runs():
        if run.name in shared:
            configs = [table.config_of(experiment, run, Path("work")) for experiment in (main, scale)]
            assert configs[0] == configs[1]
    text = [
        experiment.model_dump(include={"corpus", "holdout", "vocab_size", "seq_len"})
        for experiment in (main, scale)
    ]
    assert text[0] == text[1]


def test_widths_and_budgets_are_compared_at_the_same_bag_sizes():
    arms = table.load_table("scale").arms.values()
    sizes = {}
    for arm in arms:
        sizes.setdefault((arm.model, arm.steps), set()).add(arm.bag_size)
    assert {model for model, steps in sizes if steps == 8000} == {"w32", "w64", "w128"}
    assert all(sizes[model, 8000] == {1, 2, 4} for model in ("w32", "w64", "w128"))
    assert {steps for model, steps in sizes if model == "w64"} == {4000, 8000, 16000}
    assert all({1, 2, 4} <= found for (_, steps), found in sizes.items() if steps < 16000)


def test_a_name_that_means_nothing_is_refused(tmp_path):
    text = (ROOT / "quick.yaml").read_text()
    (tmp_path / "table.yaml").write_text(text.replace("lower: s2,", "lower: s9,"))
    with pytest.raises(ValueError, match="names s9, of which it says nothing else"):
        table.load(tmp_path / "table.yaml")


def test_a_pair_is_repeated_when_its_two_tokens_were_neighbours_before():
    import torch

    rows = torch.randint(5, (20, 24), generator=torch.Generator().manual_seed(1))
    by_hand = []
    for row in rows.tolist():
        before = set()
        by_hand.append([])
        for pair in pairwise(row):
            by_hand[-1].append(pair in before)
            before.add(pair)
    assert repeats_a_pair(rows).tolist() == by_hand
    assert 0 < sum(map(sum, by_hand)) < 20 * 23


class Copies:
    """A model that is sure of the token that came half a row ago, but not of the first of them."""

    def __init__(self, vocab_size: int, half: int) -> None:
        self.config, self.half = SimpleNamespace(vocab_size=vocab_size), half

    def __call__(self, input_ids):
        import torch

        logits = torch.zeros(*input_ids.shape, self.config.vocab_size)
        for place in range(self.half, input_ids.shape[1] - 1):
            next_one = input_ids[:, place + 1 - self.half, None]
            logits[:, place].scatter_(1, next_one, 50.0)
        return SimpleNamespace(logits=logits)


def test_what_copies_is_told_from_what_does_not():
    import torch

    rows = torch.arange(8).repeat(3, 2)
    found = measure(Copies(vocab_size=11, half=8), rows)
    # Of 15 predictions the last seven end a pair seen before.
    assert found["repeated_share"] == pytest.approx(7 / 15, abs=1e-5)
    assert found["repeated_loss"] == pytest.approx(0, abs=1e-5)
    assert found["other_loss"] == pytest.approx(math.log(11), abs=1e-4)
    assert found["random_loss"] == pytest.approx(math.log(11), abs=1e-4)
    assert found["random_again_loss"] == pytest.approx(0, abs=1e-5)


def test_token_losses_are_those_of_the_model_taken_one_by_one():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=13, **shape)).eval()
    rows = torch.randint(13, (40, 6))
    found = token_losses(model, rows)
    for row in (0, 39):
        with torch.no_grad():
            chances = model(input_ids=rows[row : row + 1]).logits[0].softmax(-1)
        by_hand = [-math.log(chances[place, rows[row, place + 1]]) for place in range(5)]
        assert found[row].tolist() == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.slow
def test_the_quick_reproduction_runs_goes_on_and_reports(tmp_path):
    page = tmp_path / "docs" / "reproduction.md"
    page.parent.mkdir()
    page.write_text("\n".join(markers("quick")))
    out = page.with_suffix("")
    command = [
        sys.executable,
        str(ROOT / "run.py"),
        "--table",
        "quick",
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
    assert done.stdout.splitlines()[-1] == str(out / "quick" / "results.csv")
    assert len(before) == 4
    assert "**6 of 6 runs.**" in page.read_text()
    assert before == {path: path.stat().st_mtime_ns for path in before}
    with (tmp_path / "quick" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["arm"] for row in rows) == sorted(
        ["baseline"] * 2 + ["s2"] * 2 + ["s2-output-only", "baseline-1.5x"]
    )
    with (tmp_path / "quick" / "claims.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    assert (tmp_path / "reports" / "main" / "report.html").is_file()
    # Two measurements of one thing: the evaluation during training, and the exported model's losses, split.
    with (tmp_path / "quick" / "repetition.csv").open() as file:
        split = {(row["arm"], row["seed"]): row for row in csv.DictReader(file)}
    assert len(split) == len(rows)
    for row in rows:
        part = {name: float(split[row["arm"], row["seed"]][name]) for name in MEASURES}
        share = part["repeated_share"]
        whole = share * part["repeated_loss"] + (1 - share) * part["other_loss"]
        assert whole == pytest.approx(float(row["eval_loss"]), abs=1e-4)
    names = {"results.csv", "curves.csv", "repetition.csv", "claims.csv", "curves.svg"}
    assert {path.name for path in (out / "quick").iterdir()} == names
    assert all(
        (tmp_path / "quick" / name).read_bytes() == (out / "quick" / name).read_bytes() for name in names
    )
    (data,) = {row["data"] for row in rows}
    assert f"All on one data set: training and held-out text {data}." in page.read_text()
