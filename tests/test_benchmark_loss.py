"""The loss benchmark compares what it says: its arms are the same loss, and its memory is real memory."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import loss as loss_benchmark
import loss_arms
import loss_table

torch.set_num_threads(1)


def case_of(section, N=48, V=500, **changes):
    args = loss_benchmark.arguments().parse_args(["--rounds", "1", "--bag-sizes", "4"])
    case = next(case for case in loss_benchmark.cases(args) if case["section"] == section)
    return case | {"N": N, "V": V, "D": 8} | changes


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ("logits", ("s calls", "readable", "multi_hot")),
        ("linear", ("linear + multi_hot", "linear_multi_hot")),
    ],
)
def test_arms_of_one_section_are_the_same_loss_and_the_base_is_it_at_one_target(section, names):
    leaves, targets = loss_arms.inputs(case_of(section), 48, 500)
    values = [loss_arms.loss_of(name)(leaves, targets).item() for name in names]
    assert values == pytest.approx([values[0]] * len(names), rel=1e-5)
    base, *_ = loss_benchmark.LOGITS_ARMS if section == "logits" else loss_benchmark.LINEAR_ARMS
    one = [loss_arms.loss_of(name)(leaves, targets[:, :1]).item() for name in (base, *names)]
    assert one == pytest.approx([one[0]] * len(one), rel=1e-5)


def test_every_cell_has_the_base_first_and_each_peer_where_it_tells_something():
    args = loss_benchmark.arguments().parse_args(["--only", "linear"])
    linear = [case for case in loss_benchmark.cases(args) if case["section"] == "linear"][:4]
    base, peer, ours = "linear + cross_entropy", "cut-cross-entropy", "linear_multi_hot"
    assert [case["s"] for case in linear] == [1, 4, 8, 16]
    assert [loss_benchmark.arms_of(case) for case in linear] == [
        [base, peer, ours],
        [base, ours],
        [base, ours],
        [base, "linear + multi_hot", ours],
    ]
    assert loss_benchmark.arms_of(case_of("logits")) == list(loss_benchmark.LOGITS_ARMS)


def test_memory_is_that_of_the_arm_alone():
    """Three [N, V] of float32 for cross-entropy, as architecture says; read by a process of its own."""
    extra = loss_benchmark.in_fresh_process(
        case_of("logits", 512, 8000, dtype="float32") | {"task": "memory", "arms": ["cross_entropy"]}
    )
    assert extra / (512 * 8000 * 4) == pytest.approx(3, abs=0.3)


@pytest.mark.slow
def test_memory_that_making_the_inputs_left_is_not_taken_again_unseen():
    """One [N, V] for ours, the gradient of the logits: every time; unseen it was in every other process."""
    case = case_of("logits", 1024, 32_000, dtype="bfloat16") | {"task": "memory", "arms": ["multi_hot"]}
    extras = [loss_benchmark.in_fresh_process(case) for _ in range(4)]
    assert [extra / (1024 * 32_000 * 2) for extra in extras] == pytest.approx([1] * 4, abs=0.3)


def test_an_arm_over_the_limit_is_skipped_with_what_it_would_need():
    case = case_of("logits", 4096, 128_256, dtype="float32", s=16)
    needed = loss_benchmark.gigabytes_needed(case, "s calls")
    assert loss_benchmark.why_skipped("s calls", needed) == "needs 40 GB, over 16"
    assert loss_benchmark.why_skipped("s calls", 0.1) == ""


def test_table_made_cell_by_cell_measures_each_once_and_prints_them_all(tmp_path, monkeypatch, capsys):
    measured = []

    def in_fresh_process(case):
        measured.append(loss_table.cell_of(case))
        return [[0.5]] * len(case["arms"]) if case["task"] == "time" else 1000

    monkeypatch.setattr(loss_benchmark, "in_fresh_process", in_fresh_process)
    monkeypatch.setattr(loss_benchmark, "why_skipped", lambda name, needed: "")
    file = tmp_path / "rows.csv"
    arguments = ["--csv", str(file), "--cells", "3", "--bag-sizes", "1,4", "--only", "logits"]
    for left in (13, 10, 7, 4, 1, 0, 0):
        loss_benchmark.main(arguments)
        table = capsys.readouterr().out
        assert f"; {left} of 16 cells left" in table
    # Each cell: one timing process, and one for the memory of each arm.
    assert {cell: measured.count(cell) for cell in measured} == dict.fromkeys(measured, 1 + 5)
    assert len(set(measured)) == 16
    lines = [line for line in table.splitlines() if line.startswith("| logits |")]
    assert len(lines) == 8 * 10
    assert "multi_hot, at worst: 1.00 of the time and 1.00 of the memory of (a); largest s 1.00" in table


def test_rows_read_back_are_the_rows_written(tmp_path):
    case = case_of("linear")
    rows = [
        loss_benchmark.shown(case, "linear_multi_hot", ms=1.5, time=0.75, MB=3.25, memory=0.5),
        loss_benchmark.shown(case, "cut-cross-entropy", skipped="not installed"),
    ]
    loss_table.append(tmp_path / "rows.csv", rows[:1])
    loss_table.append(tmp_path / "rows.csv", rows[1:])
    assert loss_table.load(tmp_path / "rows.csv") == rows


def test_the_pages_show_what_the_committed_rows_say(capsys):
    root = Path(__file__).parent.parent
    loss_table.print_table(loss_table.load(root / "docs" / "loss.csv"))
    printed = capsys.readouterr().out
    assert printed.strip() in (root / "docs" / "loss.md").read_text()
    card = (root / "composer_algo" / "README.md").read_text().splitlines()
    shown = [line for line in card if line.startswith(("| logits |", "| linear |"))]
    assert len(shown) > 10
    assert set(shown) <= set(printed.splitlines())


def test_the_committed_rows_are_of_every_cell_and_arm():
    rows = loss_table.load(Path(__file__).parent.parent / "docs" / "loss.csv")
    cases = list(loss_benchmark.cases(loss_benchmark.arguments().parse_args([])))
    assert len(cases) == 64
    wanted = [(*loss_table.cell_of(case), arm) for case in cases for arm in loss_benchmark.arms_of(case)]
    assert sorted((*loss_table.cell_of(row), row["arm"]) for row in rows) == sorted(wanted)
