"""`tst compare` on run directories written by hand, held to a computation that a reader can do on paper."""

import csv
import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml
from tst_tools import cli

from tstruns.arms import group_into_arms
from tstruns.compare import compare
from tstruns.curves import AXES, eval_curve, switch_at, train_curve
from tstruns.finished_run import load_run
from tstruns.run_directory import RunDirectory

ROWS, SEQ_LEN, FLOPS_A_POSITION = 4, 8, 1000
LOSS = "metrics/eval/LanguageCrossEntropy"


def write(
    folder: Path,
    loss: float,
    *,
    steps: int = 100,
    bag_size: int = 1,
    switch: int = 0,
    seed: int = 1,
    config: dict[str, Any] | None = None,
    summary: dict[str, Any] | None = None,
) -> Path:
    """Writes a finished run directory with round numbers, as `tst train` leaves it."""
    data = {"local": f"/data/of/{folder.name}", "shuffle_seed": seed}
    algorithms: dict[str, Any] = {"token_superposition": None}
    if switch:
        data |= {"bag_size": bag_size, "superposition_batches": switch}
        algorithms["token_superposition"] = {"weighting": "uniform", "mode": "full"}
    values = {
        "run_dir": str(folder),
        "max_duration": f"{steps}ba",
        "global_train_batch_size": ROWS,
        "seed": seed,
        "model": {"name": "hf_causal_lm", "config": {"model_type": "llama", "hidden_size": 16}},
        "optimizer": {"name": "adamw", "lr": 0.004},
        "scheduler": {"name": "wsd", "t_warmup": "10ba", "t_decay": "0.1dur"},
        "train_loader": {"name": "bag_shards", "dataset": data},
        "algorithms": algorithms,
        **(config or {}),
    }
    lines = []
    for batch in range(1, steps + 1):
        superposed = batch <= switch
        positions = batch * ROWS * SEQ_LEN
        lines.append(
            {
                "batch": batch,
                "tokens": positions + (bag_size - 1) * min(batch, switch) * ROWS * SEQ_LEN,
                "equivalent_tokens": positions,
                "wall_seconds": 36.0 * batch,
                "loss/train/superposition" if superposed else "loss/train/next_token": loss + 50 / batch,
                **({LOSS: loss + (steps - batch) / 100} if batch % (steps // 4) == 0 else {}),
            }
        )
    folder.mkdir(parents=True)
    run = RunDirectory(folder)
    run.config_file.write_text(yaml.safe_dump(values))
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    identity = {"sha256": "d" * 64, "seq_len": SEQ_LEN, "tokenizer_sha256": "t" * 64}
    totals = {
        "max_duration": f"{steps}ba",
        "steps": steps,
        "superposition_steps": switch,
        "tokens": lines[-1]["tokens"],
        "equivalent_tokens": lines[-1]["equivalent_tokens"],
        "train_loss": loss + 0.1,
        "eval": {LOSS: loss},
        "eval_step": steps,
        "wall_seconds": 36.0 * steps,
        "num_parameters": 12345,
        "num_ranks": 1,
        "device": "cpu",
        "flops_per_position": FLOPS_A_POSITION,
        "train_data": identity,
        "eval_data": {**identity, "sha256": "e" * 64, "rows": 64},
    }
    run.finish({**totals, **(summary or {})})
    return folder


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open() as opened:
        return list(csv.DictReader(opened))


def of(rows: list[dict[str, str]], comparison: str) -> dict[str, str]:
    (row,) = [row for row in rows if row["comparison"] == comparison]
    return row


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """TST with s = 2 and r = 0.5 at 100 steps, 3 seeds; baselines of 100 (2 seeds), 125 and 200 steps."""
    tst = [
        write(tmp_path / f"tst{seed}", loss, bag_size=2, switch=50, seed=seed)
        for seed, loss in ((1, 2.88), (2, 2.90), (3, 2.92))
    ]
    short = [write(tmp_path / f"base{seed}", loss, seed=seed) for seed, loss in ((1, 2.99), (2, 3.01))]
    longer = [
        write(tmp_path / "base125", 2.95, steps=125),
        write(tmp_path / "base200", 2.75, steps=200),
    ]
    return [*tst, *longer, *short]


def test_equal_flops_is_the_difference_of_means_over_seeds(runs, tmp_path):
    compare(runs, tmp_path / "out")
    row = of(rows_of(tmp_path / "out" / "comparisons.csv"), "equal_flops")
    assert row["arm"] == "TST s=2 r=0.5, 100 steps"
    assert row["baseline"] == "baseline, 100 steps"
    assert float(row["gain"]) == pytest.approx(3.00 - 2.90)
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


def test_arms_are_named_by_what_differs(tmp_path):
    base = {"name": "adamw", "lr": 0.001}
    folders = [
        write(tmp_path / "a", 3.0),
        write(tmp_path / "b", 3.0, config={"optimizer": base}),
        write(tmp_path / "c", 3.0, bag_size=4, switch=30),
        write(
            tmp_path / "d",
            3.0,
            config={
                "algorithms": {
                    "token_superposition": {
                        "bag_size": 3,
                        "duration": "25ba",
                        "mode": "output_only",
                        "weighting": "power_law",
                    },
                    "reinitialise_embeddings": {},
                }
            },
            summary={"superposition_steps": 25},
        ),
        write(tmp_path / "e", 3.0, bag_size=4, switch=30, seed=2),
    ]
    arms = group_into_arms([load_run(folder) for folder in folders])
    assert {arm.name: len(arm.runs) for arm in arms} == {
        "baseline, lr 0.004": 1,
        "baseline, lr 0.001": 1,
        "TST s=3 r=0.25 output-only power law re-initialised, lr 0.004": 1,
        "TST s=4 r=0.3, lr 0.004": 2,
    }


def test_what_changes_no_loss_parts_no_arm(tmp_path):
    quiet = write(tmp_path / "a", 3.0, config={"progress_bar": False, "save_interval": "10ba"})
    folders = [quiet, write(tmp_path / "b", 3.1, seed=2, config={"eval_interval": "7ba"})]
    (arm,) = group_into_arms([load_run(folder) for folder in folders])
    assert arm.eval_loss.values == (3.0, 3.1)


def test_runs_csv_has_the_totals_of_every_run(runs, tmp_path):
    compare(runs, tmp_path / "out")
    rows = {row["run"]: row for row in rows_of(tmp_path / "out" / "runs.csv")}
    assert set(rows) == set(map(str, runs))
    row = rows[str(tmp_path / "tst2")]
    assert (row["steps"], row["superposition_steps"], row["seed"]) == ("100", "50", "2")
    assert int(row["flops"]) == 100 * ROWS * SEQ_LEN * FLOPS_A_POSITION
    assert float(row["hours"]) == 1.0
    assert float(row["eval_loss"]) == 2.90


DIFFERENT = [
    ({"summary": {"num_parameters": 99}}, "parameters: 12345 there, 99 here"),
    (
        {"config": {"model": {"name": "hf_causal_lm", "config": {"model_type": "llama", "hidden_size": 32}}}},
        "model.config.hidden_size: 16 there, 32 here",
    ),
    (
        {"summary": {"train_data": {"sha256": "x", "seq_len": SEQ_LEN, "tokenizer_sha256": "t" * 64}}},
        "training data",
    ),
    (
        {"summary": {"train_data": {"sha256": "d" * 64, "seq_len": 16, "tokenizer_sha256": "t" * 64}}},
        "L: 8 there, 16",
    ),
    (
        {"summary": {"train_data": {"sha256": "d" * 64, "seq_len": SEQ_LEN, "tokenizer_sha256": "u"}}},
        "tokenizer",
    ),
    (
        {
            "summary": {
                "eval_data": {
                    "sha256": "e" * 64,
                    "seq_len": SEQ_LEN,
                    "tokenizer_sha256": "t" * 64,
                    "rows": 3,
                }
            }
        },
        "rows of an evaluation: 64 there, 3 here",
    ),
]


@pytest.mark.parametrize(("changes", "said"), DIFFERENT, ids=[said for _, said in DIFFERENT])
def test_runs_whose_losses_mean_different_things_are_refused(tmp_path, changes, said):
    folders = [write(tmp_path / "a", 3.0), write(tmp_path / "b", 2.9, **changes)]
    with pytest.raises(ValueError, match="cannot be compared") as raised:
        compare(folders, tmp_path / "out")
    assert said in str(raised.value)
    assert not (tmp_path / "out").exists()


REFUSED = [
    ({"eval": {}, "eval_step": None, "eval_data": None}, "no evaluation at its end"),
    ({"eval": {LOSS: None}}, "it has diverged"),
    ({"flops_per_position": None}, "FLOPs of this model could not be counted"),
]


@pytest.mark.parametrize(("summary", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_a_run_that_shows_nothing_is_refused(tmp_path, capsys, summary, said):
    folders = [write(tmp_path / "a", 3.0), write(tmp_path / "b", 2.9, summary=summary)]
    assert cli.main(["compare", *map(str, folders), "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def test_an_unfinished_run_is_refused_with_what_finishes_it(tmp_path):
    folders = [write(tmp_path / "a", 3.0), write(tmp_path / "b", 2.9, seed=2)]
    (folders[1] / "summary.json").unlink()
    with pytest.raises(ValueError, match=r"batch 100 of 100ba\); finish it with: tst train .*b/config\.yaml"):
        compare(folders, tmp_path / "out")


def test_a_summary_of_another_version_and_what_is_no_run_are_refused(tmp_path):
    folder = write(tmp_path / "a", 3.0)
    with pytest.raises(FileNotFoundError, match="is no run directory"):
        compare([folder, tmp_path], tmp_path / "out")
    old = write(tmp_path / "b", 2.9)
    totals = json.loads((old / "summary.json").read_text())
    del totals["train_data"]
    (old / "summary.json").write_text(json.dumps(totals))
    with pytest.raises(ValueError, match="has no train_data: another version"):
        compare([folder, old], tmp_path / "out")


def test_the_same_run_twice_and_one_run_alone_are_refused(tmp_path):
    one, same = write(tmp_path / "a", 3.0), write(tmp_path / "b", 2.9)
    with pytest.raises(ValueError, match="the same run twice"):
        compare([one, same], tmp_path / "out")
    with pytest.raises(ValueError, match="needs two or more"):
        compare([one], tmp_path / "out")


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


def test_the_report_marks_the_switch_of_every_tst_arm_in_every_plot_of_curves(tmp_path):
    def dashed(*folders):
        return compare(folders, tmp_path / "out").report.read_text().count("stroke-dasharray")

    base, other = write(tmp_path / "base", 3.0), write(tmp_path / "other", 3.0, seed=2)
    tst = write(tmp_path / "tst", 2.9, bag_size=2, switch=50)
    assert dashed(base, other) == 0
    assert dashed(base, tst) == 4
