"""`tst plan`: the paper's token totals, the data, the lines to paste, and what is said of a mistake."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from tst_tools import cli

import tstruns
from tstruns.paper_results import main_results

SHAPES = {"270M": "270m", "600M": "600m", "3B": "3b", "10B-A1B": "10b-a1b"}
SMALL = {
    "model_type": "llama",
    "vocab_size": 1024,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "tie_word_embeddings": False,
}


def plan(*arguments: object, capsys) -> dict:
    assert cli.main(["plan", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(*arguments: object, capsys) -> str:
    assert cli.main(["plan", *map(str, arguments)]) == 2
    return capsys.readouterr().err


@pytest.fixture
def config_json(tmp_path: Path) -> Path:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(SMALL))
    return file


@pytest.mark.parametrize("row", main_results(), ids=lambda row: f"{row.params}-{row.model}-{row.total_steps}")
def test_token_totals_of_the_papers_runs_are_met_within_one_per_cent(row, capsys):
    seq_len = 4096 if row.params in ("3B", "10B-A1B") else 2048
    step_tokens = 2**23 if row.params == "10B-A1B" else 2**21
    found = plan(
        *("--model", SHAPES[row.params], "--steps", row.total_steps, "--bag-size", row.bag_size),
        *("--global-batch-size", step_tokens // seq_len, "--seq-len", seq_len),
        *("--superposition-ratio", f"{row.superposition_steps}/{row.total_steps}"),
        capsys=capsys,
    )
    assert found["size"]["step_tokens"] == step_tokens
    assert found["size"]["total_tokens"] / 1e9 == pytest.approx(row.total_tokens_b, rel=0.01)
    assert found["phases"][0]["tokens"] / 1e9 == pytest.approx(row.superposition_tokens_b, rel=0.01)
    by_formula = (
        row.total_steps * step_tokens * (1 + row.superposition_steps / row.total_steps * (row.bag_size - 1))
    )
    assert found["size"]["total_tokens"] == pytest.approx(by_formula, rel=1e-12)


def test_the_dataset_gives_row_length_vocabulary_and_width(small_dataset, tmp_path, capsys):
    run = tmp_path / "run.yaml"
    lines = [f"{key}: {value}" for key, value in SMALL.items() if key != "vocab_size"]
    run.write_text(
        "model: {name: hf_causal_lm, config: {" + ", ".join(lines).replace("False", "false") + "}}\n"
    )
    arguments = ["--model", run, "--steps", 20, "--global-batch-size", 4, "--bag-size", 2]
    arguments += ["--superposition-ratio", 0.5, "--data", small_dataset]
    found = plan(*arguments, capsys=capsys)
    assert found["size"]["seq_len"] == 32
    assert found["shape"]["vocab_size"] == 1024
    assert found["token_bytes"] == 2
    assert found["data"]["enough"] is True
    assert "no vocab_size" in refusal(*arguments[:-2], "--seq-len", 32, capsys=capsys)


def test_a_dataset_that_cannot_serve_the_run_is_refused_with_both_values(small_dataset, config_json, capsys):
    sizes = ["--steps", 20, "--bag-size", 2, "--superposition-ratio", 0.5, "--data", small_dataset]
    said = refusal("--model", config_json, *sizes, "--global-batch-size", 4, "--seq-len", 64, capsys=capsys)
    assert "rows of 32 tokens" in said
    assert "--seq-len 64" in said
    said = refusal("--model", config_json, *sizes, "--global-batch-size", 10**6, capsys=capsys)
    assert "one global batch needs 1000000" in said
    config_json.write_text(json.dumps({**SMALL, "vocab_size": 1000}))
    said = refusal("--model", config_json, *sizes, "--global-batch-size", 4, capsys=capsys)
    assert "1024 ids" in said
    assert "vocab_size 1000" in said


def test_the_lines_to_paste_make_the_planned_run(tmp_path, capsys):
    asked = ["--steps", 5000, "--global-batch-size", 16, "--bag-size", 5, "--superposition-ratio", 0.4]
    asked += ["--weighting", "power_law"]
    for mode in ("full", "input_only", "output_only"):
        found = plan("--model", "270m", *asked, "--mode", mode, capsys=capsys)
        run = tmp_path / f"{mode}.yaml"
        run.write_text("extends: 270m\n" + found["yaml"])
        assert tstruns.read_config(run, [f"run_dir={tmp_path}"]).algorithms.gradient_clipping is not None
        again = plan("--model", run, capsys=capsys)
        assert again["size"] == found["size"]
        assert again["weighting"] == found["weighting"] == "power_law"
        assert again["yaml"] == found["yaml"]
    baseline = plan("--model", "270m", "--steps", 9, "--bag-size", 1, capsys=capsys)
    assert "superposition" not in baseline["yaml"]


def test_json_holds_all_that_the_text_says(capsys):
    found = plan("--model", "600m-20k-tst", "--gpu", "B200", "--utilisation", 0.5, capsys=capsys)
    assert cli.main(["plan", "--model", "600m-20k-tst", "--gpu", "B200", "--utilisation", "0.5"]) == 0
    text = capsys.readouterr().out
    cost = found["cost"]
    assert cost["equal"] is True
    assert cost["superposition_step_flops"] == cost["recovery_step_flops"]
    assert cost["total_flops"] == 20000 * cost["recovery_step_flops"]
    assert cost["gpu_hours"] == pytest.approx(cost["total_flops"] / (2.25e15 * 0.5) / 3600)
    for said in (
        f"{found['shape']['total_params']:,}",
        f"{found['size']['total_rows']:,}",
        f"{cost['gpu_hours']:,.1f} B200-hours at 50%",
        f"{cost['total_flops']:.4e}",
        found["durations"]["ba"],
        found["durations"]["warnings"][0],
        "s = 6, r = 0.3: final loss 2.9439, -0.0747",
        *found["paper"]["limits"],
    ):
        assert said in text


def test_a_batch_based_share_is_warned_of_where_a_token_based_one_would_differ(capsys):
    times = plan("--model", "270m-20k-tst", capsys=capsys)["durations"]
    assert (times["ba"], times["dur"], times["tok"]) == ("6000ba", "0.3dur", f"{6000 * 6 * 2**21}tok")
    # The same data are 50,000 batches of rows: 0.3 of them is 15,000, or 2,500 batches of bag rows.
    assert times["dur_misread_batch"] == 2500
    assert times["dur_of_tok"] == f"{float(Fraction(36, 50)):g}dur"
    assert "6.7% of the steps" in times["warnings"][0]
    assert plan("--model", "270m-20k-baseline", capsys=capsys)["durations"]["warnings"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "270n"], ["no recipe named '270n'", "did you mean '270m", "10b-a1b"]),
        (["--model", "nowhere.yaml"], ["nowhere.yaml is no file"]),
        (["--model", "nowhere/config.json"], ["is no file", "270m"]),
        (["--model", "paper"], ["paper has no model.config"]),
        (["--model", "270m"], ["does not say --steps, --bag-size, --superposition-ratio"]),
        (["--model", "270m-20k-tst", "--steps", "100"], ["does not say --superposition-ratio"]),
        (
            ["--model", "270m-20k-tst", "--superposition-ratio", "30"],
            ["--superposition-ratio is 30", "0 to 1"],
        ),
        (["--model", "270m-20k-tst", "--superposition-ratio", "x"], ["is 'x'", "such as 0.3"]),
        (["--model", "270m-20k-tst", "--bag-size", "0"], ["--bag-size is 0", "1 or more"]),
        (["--model", "270m-20k-tst", "--gpu", "B20"], ["no GPU named 'B20'", "--gpu B200"]),
        (["--model", "270m-20k-tst", "--utilisation", "40"], ["--utilisation is 40", "at most 1"]),
        (["--model", "270m-20k-tst", "--data", "nowhere"], ["dataset.json does not exist"]),
    ],
)
def test_a_mistake_is_named_with_what_to_type(arguments, words, capsys):
    said = refusal(*arguments, capsys=capsys)
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("arguments", "warning"),
    [
        (["--bag-size", "1", "--superposition-ratio", "0.3"], "has no effect"),
        (["--superposition-ratio", "0"], "no step is in the superposition phase"),
        (["--superposition-ratio", "1"], "no recovery phase"),
        (["--seq-len", "9999"], "beyond the model's max_position_embeddings 2048"),
        (["--mode", "input_only", "--weighting", "power_law"], "weighting 'power_law' has no effect"),
    ],
)
def test_a_setting_without_effect_is_warned_of(arguments, warning, capsys):
    assert any(
        warning in said for said in plan("--model", "270m-20k-tst", *arguments, capsys=capsys)["warnings"]
    )


def test_planning_a_recipe_loads_no_torch():
    code = (
        "import sys\nfrom tst_tools import cli\ncli.main(['plan', '--model', '10b-a1b-50k-tst'])\n"
        "heavy = ('torch', 'composer', 'streaming', 'transformers')\n"
        "print([m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
