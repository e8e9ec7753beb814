"""What `tst compare` refuses to compare, and how it says so."""

import json

import pytest
from finished_runs import LOSS, SEQ_LEN, write
from tst_tools import cli

from tstruns.compare import compare

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
