"""The loss benchmark compares what it says: its arms are the same loss, and its memory is real memory."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import loss as loss_benchmark
import loss_arms

torch.set_num_threads(1)


def case_of(section, N=48, V=500, **changes):
    args = loss_benchmark.arguments().parse_args(["--rounds", "1", "--bag-sizes", "1,4"])
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


def test_every_round_runs_the_base_before_the_arms_of_each_bag_size():
    arms = loss_benchmark.arms_of(case_of("logits"))
    assert [s for name, s in arms if name == "cross_entropy"] == [1, 4]
    assert [name for name, s in arms if s == 4] == list(loss_benchmark.LOGITS_ARMS)


def test_memory_is_that_of_the_arm_alone():
    """Three [N, V] of float32 for cross-entropy, as architecture says; read by a process of its own."""
    extra = loss_benchmark.in_fresh_process(
        case_of("logits", 512, 8000, dtype="float32") | {"task": "memory", "arms": [("cross_entropy", 1)]}
    )
    assert extra / (512 * 8000 * 4) == pytest.approx(3, abs=0.3)


def test_an_arm_over_the_limit_is_skipped_with_what_it_would_need():
    case = case_of("logits", 4096, 128_256, dtype="float32")
    needed = loss_benchmark.gigabytes_needed(case, "s calls", 16)
    assert loss_benchmark.why_skipped("s calls", needed) == "needs 40 GB, over 16"
    assert loss_benchmark.why_skipped("s calls", 0.1) == ""
