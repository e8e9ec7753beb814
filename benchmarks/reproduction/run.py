"""The paper's claims at a scale that two cores can train: every arm of arms.yaml, then reports and tables.

    python benchmarks/reproduction/run.py --work /tmp/tst-reproduction

Runs of the table train side by side, one thread each, through `tst prepare` and `tst train`. Interrupted, the
same command goes on; finished runs are not run again. It leaves in --work:

    runs/NAME/            a run directory each
    reports/NAME/         `tst compare` over the arms of each report
    results.csv           every run's totals
    claims.csv            each claim of the paper: the difference here, and its standard error over seeds

--quick is the same over tiny runs in about two minutes. --only ARM... takes some arms of the table.
"""

import argparse
import csv
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from claims import claim_rows
from experiment import Experiment, Run, config_of, load
from text import make_data

from tstruns import RunDirectory
from tstruns.arms import Spread
from tstruns.compare import compare
from tstruns.finished_run import FinishedRun, load_run

HERE = Path(__file__).parent


def main() -> int:
    """Runs what is not done yet; returns 0 when all of it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="directory of everything it makes")
    parser.add_argument("--quick", action="store_true", help="tiny runs: whether it runs, in two minutes")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs side by side (%(default)s)")
    parser.add_argument("--only", nargs="+", metavar="ARM", help="some arms of the table")
    args = parser.parse_args()
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    experiment = load(HERE / ("quick.yaml" if args.quick else "arms.yaml"))
    unknown = set(args.only or ()) - set(experiment.arms)
    if unknown:
        parser.error(
            f"--only: no arm named {', '.join(sorted(unknown))}; there are {', '.join(experiment.arms)}"
        )
    make_data(experiment, work, args.jobs)
    runs = [run for run in experiment.runs() if not args.only or run.arm in args.only]
    with ThreadPoolExecutor(args.jobs) as pool:
        fine = list(pool.map(lambda run: train(experiment, run, work), runs))
    gather(experiment, work)
    return 0 if all(fine) else 1


def train(experiment: Experiment, run: Run, work: Path) -> bool:
    """Trains one run to its end, unless it has been; returns whether it is finished."""
    if RunDirectory(work / "runs" / run.name).summary() is not None:
        return True
    config, errors = work / "configs" / f"{run.name}.yaml", work / "configs" / f"{run.name}.stderr.txt"
    config.parent.mkdir(exist_ok=True)
    config.write_text(yaml.safe_dump(config_of(experiment, run, work), sort_keys=False))
    started = time.monotonic()
    say(f"{run.name}: starts")
    with errors.open("w") as told:
        # One thread each: as many runs as cores, and the same sums in the same order on every machine.
        done = subprocess.run(
            [sys.executable, "-m", "tst_tools", "train", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=told,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    if done.returncode:
        say(
            f"{run.name}: FAILED with exit code {done.returncode}; see {errors}\n{errors.read_text()[-1500:]}"
        )
        return False
    say(f"{run.name}: finished after {time.monotonic() - started:.0f} s")
    return True


def gather(experiment: Experiment, work: Path) -> None:
    """Writes tables and reports from the run directories of all finished runs."""
    finished: dict[str, list[FinishedRun]] = {}
    for run in experiment.runs():
        if RunDirectory(work / "runs" / run.name).summary() is not None:
            finished.setdefault(run.arm, []).append(load_run(work / "runs" / run.name))
    write_csv(work / "results.csv", [row(arm, run) for arm, runs in finished.items() for run in runs])
    losses = {arm: Spread(tuple(run.eval_loss for run in runs)) for arm, runs in finished.items()}
    claims = claim_rows(experiment, losses)
    write_csv(work / "claims.csv", claims)
    for claim in claims:
        print(", ".join(f"{key}: {value}" for key, value in claim.items()))
    for name, arms in experiment.reports.items():
        folders = [run.path for arm in arms for run in finished.get(arm, ())]
        if len(folders) > 1:
            print(compare(folders, work / "reports" / name).report)
    print(work / "results.csv")


def row(arm: str, run: FinishedRun) -> dict[str, Any]:
    """Returns a run's line of results.csv."""
    return {
        "arm": arm,
        "seed": run.seeds[0],
        "steps": run.steps,
        "superposition_steps": run.summary["superposition_steps"],
        "tokens": run.tokens,
        "flops": run.flops,
        "num_parameters": run.summary["num_parameters"],
        "hours": round(run.hours, 4),
        "train_loss": round(run.train_loss, 5) if run.train_loss is not None else None,
        "eval_loss": round(run.eval_loss, 5),
    }


def write_csv(file: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows of one kind; an empty file when there are none."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        if rows:
            writer = csv.DictWriter(opened, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def say(text: str) -> None:
    """Prints progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
