"""The paper's claims at a scale that two cores can train: every arm of two tables, then reports.

    python benchmarks/reproduction/run.py --work /tmp/tst-reproduction

The tables are main.yaml (one size and length, every claim) and scale.yaml (budgets and widths). Their runs
train side by side, one thread each, through `tst prepare` and `tst train`. Interrupted, the same command goes
on; finished runs are not run again. It leaves in --work:

    runs/NAME/                  a run directory each; an arm of both tables is one run
    reports/NAME/               `tst compare` over the arms of each report
    TABLE/results.csv           every run's totals, and which data it had
    TABLE/curves.csv            every run's evaluations
    TABLE/repetition.csv        every run's loss at tokens that repeat what their row had, and at others
    TABLE/claims.csv            each claim: the difference here, and its standard error over seeds
    TABLE/curves.svg            the main report's arms over their steps
    TABLE/loss-over-s.svg       final loss over bag size, a line for each width and length

--report-to docs/reproduction writes the last six there too, and all of it as text between the markers of each
table in docs/reproduction.md. What is not finished is left out, and the text says how much of the table is
there. --report-only trains nothing. --table scale takes one table, --only ARM... some arms of it; --table
quick is the same over tiny runs in about two minutes.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from experiment import TABLES, Experiment, Run, config_of, load_table
from repetition import REPETITION, repetition_rows
from report import write_report
from results import finished_runs, write_csv, write_results
from text import make_data

from tstruns import RunDirectory
from tstruns.compare import compare


def main() -> int:
    """Runs what is not done yet; returns 0 when all of it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="directory of everything it makes")
    parser.add_argument("--table", choices=(*TABLES, "quick"), help="one table (default: both; not quick)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs side by side (%(default)s)")
    parser.add_argument("--only", nargs="+", metavar="ARM", help="some arms of --table")
    parser.add_argument("--report-to", type=Path, metavar="DIR", help="where tables and figures go too")
    parser.add_argument("--report-only", action="store_true", help="train nothing; report what is finished")
    args = parser.parse_args()
    tables = {name: load_table(name) for name in ([args.table] if args.table else TABLES)}
    if args.only and not args.table:
        parser.error("--only takes arms of one table: name it by --table")
    known = [arm for experiment in tables.values() for arm in experiment.arms]
    unknown = set(args.only or ()) - set(known)
    if unknown:
        parser.error(f"--only: no arm named {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    results = [work, *([args.report_to.resolve()] if args.report_to else [])]
    fine = True
    for name, experiment in tables.items():
        if not args.report_only:
            fine = run_all(experiment, work, args.only or list(experiment.arms), args.jobs) and fine
        gather(experiment, work, [folder / name for folder in results])
    return 0 if fine else 1


def run_all(experiment: Experiment, work: Path, only: list[str], jobs: int) -> bool:
    """Makes the data and trains what is not finished of some arms; returns whether all of it is."""
    make_data(experiment, work, jobs)
    runs = [run for run in experiment.runs() if run.arm in only]
    with ThreadPoolExecutor(jobs) as pool:
        return all(list(pool.map(lambda run: train(experiment, run, work), runs)))


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


def gather(experiment: Experiment, work: Path, folders: list[Path]) -> None:
    """Writes tables, figures and reports from the run directories of all finished runs."""
    finished = finished_runs(experiment, work)
    repetition = repetition_rows(experiment, finished, work)
    for folder in folders:
        write_results(experiment, finished, folder)
        write_csv(folder / REPETITION, repetition)
        write_report(experiment, folder)
    for name, arms in experiment.reports.items():
        runs = [run.path for arm in arms for run in finished.get(arm, ())]
        if len(runs) > 1:
            print(compare(runs, work / "reports" / name).report)
    print(folders[-1] / "results.csv")


def say(text: str) -> None:
    """Prints progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
