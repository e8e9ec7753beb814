"""The arms of benchmarks/loss.py, and what runs one case of them in a process of its own.

.venv/bin/python benchmarks/loss_arms.py '{"task": "memory", "section": "logits", "N": 64, "V": 1000,
  "D": 8, "dtype": "float32", "threads": 1, "s": 1, "arms": ["multi_hot"]}'
"""

import ctypes
import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy, linear

import composer_algo
from composer_algo.loss import readable_multi_hot_cross_entropy


def work(case: dict[str, Any]) -> Any:
    """Return the seconds of each arm in each round, or the extra bytes of the one arm."""
    torch.set_num_threads(case["threads"])
    torch.manual_seed(0)
    if case["task"] == "memory":
        return extra_bytes(case)
    clock = time.process_time if case["cpu_time"] else time.perf_counter
    seconds: list[list[float]] = [[] for _ in case["arms"]]
    for name in case["arms"]:
        run_small(case, name)
    leaves, targets = inputs(case, case["N"], case["V"])
    for _ in range(case["rounds"]):
        for place, name in enumerate(case["arms"]):
            start = clock()
            loss_of(name)(leaves, targets).backward()
            seconds[place].append(clock() - start)
            for leaf in leaves:
                leaf.grad = None
    return seconds


def extra_bytes(case: dict[str, Any]) -> int:
    """Growth of the peak resident size over one forward and backward, less what every arm must make."""
    [name] = case["arms"]
    run_small(case, name)
    leaves, targets = inputs(case, case["N"], case["V"])
    gc.collect()
    # What making the inputs left to the allocator would else be taken again, and not be seen.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far becomes what is resident now
    before = peak_resident_bytes()
    loss_of(name)(leaves, targets).backward()
    gradients = sum(leaf.nbytes for leaf in leaves) if case["section"] == "linear" else 0
    return peak_resident_bytes() - before - gradients


def run_small(case: dict[str, Any], name: str) -> None:
    """Run an arm at a small size: its code, its thread pools and what it compiles are then there."""
    leaves, targets = inputs(case, 64, 1000)
    loss_of(name)(leaves, targets).backward()


def peak_resident_bytes() -> int:
    """Return VmHWM, the largest resident size of this process since it was last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def inputs(case: dict[str, Any], num_positions: int, vocab_size: int) -> Any:
    """Return the leaves (logits, or hidden and head) and targets of whole bags."""
    shapes = {(num_positions, vocab_size): 1.0}
    if case["section"] == "linear":
        shapes = {(num_positions, case["D"]): 1.0, (vocab_size, case["D"]): case["D"] ** -0.5}
    leaves = [torch.empty(shape, dtype=getattr(torch, case["dtype"])) for shape in shapes]
    for leaf, std in zip(leaves, shapes.values(), strict=True):
        for rows in leaf.split(256):  # in float32: torch draws bfloat16 five times as slowly
            rows.copy_(torch.empty(rows.shape).normal_(std=std))
        leaf.requires_grad_()
    return leaves, torch.randint(0, vocab_size, (num_positions, case["s"]))


def loss_of(name: str) -> Callable[..., Any]:
    """Return an arm: a function of the leaves and targets [N, s]."""
    if name == "cut-cross-entropy":
        from cut_cross_entropy.torch_compile import torch_compile_linear_cross_entropy as peer
    return {
        "cross_entropy": lambda x, t: cross_entropy(x[0], t[:, 0]),
        "s calls": lambda x, t: sum(cross_entropy(x[0], t[:, i]) for i in range(t.shape[1])) / t.shape[1],
        "readable": lambda x, t: readable_multi_hot_cross_entropy(x[0], t),
        "multi_hot": lambda x, t: composer_algo.multi_hot_cross_entropy(x[0], t),
        "sum_to_one": lambda x, t: composer_algo.sum_to_one_cross_entropy(x[0], t),
        "linear + cross_entropy": lambda x, t: cross_entropy(linear(*x), t[:, 0]),
        "linear + multi_hot": lambda x, t: composer_algo.multi_hot_cross_entropy(linear(*x), t),
        "linear_multi_hot": lambda x, t: composer_algo.linear_multi_hot_cross_entropy(*x, t),
        "cut-cross-entropy": lambda x, t: peer(*x, t[:, 0]),
    }[name]


if __name__ == "__main__":
    print(json.dumps(work(json.loads(sys.argv[1]))))
