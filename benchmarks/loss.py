"""Time and peak memory of the multi-hot losses, as ratios to ordinary cross-entropy in the same run.

    .venv/bin/python benchmarks/loss.py --quick

Two sections, forward and backward, each arm against (a) its base:

- logits given `[N, V]`: (a) `F.cross_entropy` with one target, (b) the paper's s calls of it, (c) our
  readable form, our `multi_hot_cross_entropy`, our `sum_to_one_cross_entropy`;
- hidden states `[N, D]` and head `[V, D]` given: (a) `F.linear` + `F.cross_entropy`, (c) `F.linear` + ours,
  `linear_multi_hot_cross_entropy`, and cut-cross-entropy's CPU form where it is installed (one target).

Time: wall clock, or with `--cpu-time` that of the processor, which other work on the machine sways less. One
process holds one set of inputs and runs (a) and then the others, round after round; printed are an arm's
median, and the median over rounds of its ratio to the (a) of its round.

Memory: what the kernel counted, not what torch asked for, so libraries' own buffers are in it. Every arm gets
a fresh process, which makes the inputs, runs the arm once at a small size (code and thread pools are loaded),
and then at full size; extra memory is the growth of the peak resident size (VmHWM, so Linux only). In the
logits section it includes the gradient of the logits; in the linear section the gradients of hidden and head,
which every arm must make, are subtracted. An arm that needs over 16 GB, or more than is free, is skipped.

The whole table takes an hour or more. In pieces: `--csv FILE` keeps what was measured, cell by cell (section,
N, V, dtype, s), measures only what the file has not, `--cells 1` of it at a time, and prints all that is in
it. One file is for one machine and one choice of the other options.
"""

import argparse
import importlib.util
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loss_table

LIMIT_GB = 16
WIDTH = 1024
BYTES = {"float32": 4, "bfloat16": 2}
LOGITS_ARMS = ("cross_entropy", "s calls", "readable", "multi_hot", "sum_to_one")
LINEAR_ARMS = ("linear + cross_entropy", "cut-cross-entropy", "linear + multi_hot", "linear_multi_hot")


def main(argv: list[str] | None = None) -> int:
    """Measure every cell, or those that the file has not; print one table, the worst ratios, the machine."""
    args = arguments().parse_args(argv)
    load = os.getloadavg()[0]
    wanted = [case for case in cases(args) if args.only in label(case)]
    rows = loss_table.load(args.csv) if args.csv else []
    done = {loss_table.cell_of(row) for row in rows}
    missing = [case for case in wanted if loss_table.cell_of(case) not in done]
    for case in missing[: args.cells]:
        measured = list(measure(case))
        rows += measured
        if args.csv:
            loss_table.append(args.csv, measured)
    order = [loss_table.cell_of(case) for case in wanted]
    mine = [row for row in rows if loss_table.cell_of(row) in order]
    loss_table.print_table(sorted(mine, key=lambda row: order.index(loss_table.cell_of(row))))
    left = len(missing[args.cells :]) if args.cells is not None else 0
    clock = "processor" if args.cpu_time else "wall"
    print(f"\n{machine()}; {args.threads} thread(s); {clock} time; load average ", end="")
    print(f"{load:.1f} before, {os.getloadavg()[0]:.1f} after; {left} of {len(wanted)} cells left")
    return 0


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=how)
    parser.add_argument(
        "--quick", action="store_true", help="N = 512, V = 32,000, s = 1, 16: a minute or two"
    )
    parser.add_argument("--only", default="", help="only cases with this in their columns: '4,096 | 32,000'")
    parser.add_argument("--bag-sizes", default="1,4,8,16", help="values of s (default 1,4,8,16)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch in each process (default 1)")
    parser.add_argument("--rounds", type=int, help="rounds of timing (default 5; linear and --quick 3)")
    parser.add_argument("--csv", type=Path, help="keep rows in this file, and measure what it has not")
    parser.add_argument("--cells", type=int, help="measure at most so many cells now")
    parser.add_argument("--cpu-time", action="store_true", help="time the processor, not the wall")
    return parser


def cases(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what the arguments ask for: one set of inputs each."""
    sizes = [(512, 32_000)] if args.quick else itertools.product((1024, 4096), (32_000, 128_256))
    bag_sizes = [1, 16] if args.quick else [int(s) for s in args.bag_sizes.split(",")]
    every = itertools.product(("logits", "linear"), sizes, BYTES, bag_sizes)
    for section, (num_positions, vocab_size), dtype, bag_size in every:
        yield {
            "section": section,
            "N": num_positions,
            "V": vocab_size,
            "D": WIDTH,
            "dtype": dtype,
            "threads": args.threads,
            "cpu_time": args.cpu_time,
            "s": bag_size,
            "smallest": bag_size == min(bag_sizes),
            "largest": bag_size == max(bag_sizes),
            "rounds": args.rounds or (3 if args.quick or section == "linear" else 5),
        }


def measure(case: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Run one cell, its timing process and then a memory process for each arm; yield and show its rows."""
    allowed = []
    for name in arms_of(case):
        reason = why_skipped(name, gigabytes_needed(case, name))
        if reason:
            yield shown(case, name, skipped=reason)
        else:
            allowed.append(name)
    if allowed[:1] != arms_of(case)[:1]:
        return  # without the base there is nothing to compare with
    times = in_fresh_process(case | {"task": "time", "arms": allowed})
    base, base_extra = times[0], in_fresh_process(case | {"task": "memory", "arms": allowed[:1]})
    for name, seconds in zip(allowed, times, strict=True):
        extra = base_extra
        if name != allowed[0]:
            extra = in_fresh_process(case | {"task": "memory", "arms": [name]})
        ratio = statistics.median(mine / theirs for mine, theirs in zip(seconds, base, strict=True))
        ms = 1e3 * statistics.median(seconds)
        yield shown(case, name, ms=ms, time=ratio, MB=extra / 1e6, memory=extra / base_extra)


def shown(case: dict[str, Any], name: str, **found: Any) -> dict[str, Any]:
    """Return a row, having shown it: a cell can take minutes."""
    row = {**dict.fromkeys(loss_table.COLUMNS), "skipped": ""}
    row |= {key: case[key] for key in loss_table.CELL} | {"arm": name} | found
    print(loss_table.line(row), file=sys.stderr, flush=True)
    return row


def arms_of(case: dict[str, Any]) -> list[str]:
    """Return the arms of a cell in the order of a round, the base first."""
    # What has one target needs no other s, and what is the logits form again needs only the hardest.
    only = {"cut-cross-entropy": case["smallest"], "linear + multi_hot": case["largest"]}
    names = LOGITS_ARMS if case["section"] == "logits" else LINEAR_ARMS
    return [name for name in names if only.get(name, True)]


def gigabytes_needed(case: dict[str, Any], name: str) -> float:
    """Estimate inputs and temporaries of an arm, in units of one [N, V] (three beside the logits)."""
    unit = case["N"] * case["V"] * BYTES[case["dtype"]]
    units = case["s"] + 3 if name == "s calls" else 4
    if name == "readable":
        units = 1 + 3 * 4 // BYTES[case["dtype"]]
    head = 3 * case["V"] * WIDTH * 4 if case["section"] == "linear" else 0
    return (units * unit + head) / 1e9


def why_skipped(name: str, needed: float) -> str:
    """Return why an arm is not run here, or an empty string."""
    if name == "cut-cross-entropy" and importlib.util.find_spec("cut_cross_entropy") is None:
        return "not installed"
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 1e6
    if needed > LIMIT_GB:
        return f"needs {needed:.0f} GB, over {LIMIT_GB}"
    return f"needs {needed:.0f} GB, {free:.0f} free" if needed > free else ""


def in_fresh_process(case: dict[str, Any]) -> Any:
    """Run a case in a new interpreter, and return what it printed last."""
    command = [sys.executable, Path(__file__).with_name("loss_arms.py"), json.dumps(case)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def label(case: dict[str, Any]) -> str:
    """Return the first columns of a case's rows."""
    return f"{case['section']} | {case['N']:,} | {case['V']:,} | {case['dtype']} | {case['s']} |"


def machine() -> str:
    """Return the machine and the versions that the table came from."""
    from importlib.metadata import version

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    return f"{cpu}, {os.cpu_count()} cores; Python {platform.python_version()}; torch {version('torch')}"


if __name__ == "__main__":
    sys.exit(main())
