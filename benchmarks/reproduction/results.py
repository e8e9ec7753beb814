"""What the runs left, as two tables: totals and evaluation losses; and both read back, arm by arm."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiment import ArmSettings, Experiment

from tstruns import RunDirectory
from tstruns.arms import Spread
from tstruns.finished_run import EVAL_LOSS, FinishedRun, load_run

RESULTS, CURVES = "results.csv", "curves.csv"


@dataclass(frozen=True)
class ArmResult:
    """The finished runs of one arm of the table."""

    name: str
    settings: ArmSettings
    tokens: int
    by_seed: dict[int, float]
    curves: tuple[tuple[tuple[int, float], ...], ...]
    data: frozenset[str] = frozenset()

    @property
    def eval_loss(self) -> Spread:
        """The final evaluation loss over the seeds."""
        return Spread(tuple(self.by_seed.values()))

    @property
    def steps(self) -> int:
        """Optimizer steps of each run."""
        return self.settings.steps

    @property
    def switch(self) -> int:
        """The step of the switch; 0 without one."""
        return round(self.settings.ratio * self.settings.steps)


def finished_runs(experiment: Experiment, work: Path) -> dict[str, list[FinishedRun]]:
    """Returns the finished runs by arm, in the table's order."""
    finished: dict[str, list[FinishedRun]] = {}
    for run in experiment.runs():
        if RunDirectory(work / "runs" / run.name).summary() is not None:
            finished.setdefault(run.arm, []).append(load_run(work / "runs" / run.name))
    return finished


def write_results(experiment: Experiment, finished: dict[str, list[FinishedRun]], folder: Path) -> None:
    """Writes results.csv, a line for each run, and curves.csv, a line for each of its evaluations."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = [(arm, run) for arm, runs in finished.items() for run in runs]
    write_csv(folder / RESULTS, [_totals(arm, experiment.arms[arm], run) for arm, run in runs])
    write_csv(folder / CURVES, [line for arm, run in runs for line in _evaluations(arm, run)])


def _totals(arm: str, settings: ArmSettings, run: FinishedRun) -> dict[str, Any]:
    return {
        "arm": arm,
        "model": settings.model,
        "seed": run.seeds[0],
        "steps": run.steps,
        "bag_size": settings.bag_size,
        "superposition_steps": run.summary["superposition_steps"],
        "tokens": run.tokens,
        "flops": run.flops,
        "num_parameters": run.summary["num_parameters"],
        "hours": round(run.hours, 4),
        "train_loss": round(run.train_loss, 5) if run.train_loss is not None else None,
        "eval_loss": round(run.eval_loss, 5),
        "data": f"{run.summary['train_data']['sha256'][:8]}-{run.summary['eval_data']['sha256'][:8]}",
    }


def _evaluations(arm: str, run: FinishedRun) -> Iterable[dict[str, Any]]:
    for line in run.lines:
        if line.get(EVAL_LOSS) is not None:
            loss = round(line[EVAL_LOSS], 5)
            yield {"arm": arm, "seed": run.seeds[0], "step": line["batch"], "eval_loss": loss}


def read_results(experiment: Experiment, folder: Path) -> dict[str, ArmResult]:
    """Returns the arms that results.csv and curves.csv of a directory tell of, in the table's order."""
    totals, curves = _by_arm(folder / RESULTS), _by_arm(folder / CURVES)
    return {
        name: ArmResult(
            name,
            settings,
            int(totals[name][0]["tokens"]),
            {int(row["seed"]): float(row["eval_loss"]) for row in totals[name]},
            tuple(
                tuple(
                    (int(line["step"]), float(line["eval_loss"]))
                    for line in curves[name]
                    if line["seed"] == row["seed"]
                )
                for row in totals[name]
            ),
            frozenset(row["data"] for row in totals[name] if row.get("data")),
        )
        for name, settings in experiment.arms.items()
        if name in totals
    }


def _by_arm(file: Path) -> dict[str, list[dict[str, str]]]:
    rows: dict[str, list[dict[str, str]]] = {}
    with file.open(newline="", encoding="utf-8") as opened:
        for row in csv.DictReader(opened):
            rows.setdefault(row["arm"], []).append(row)
    return rows


def write_csv(file: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows of one kind; an empty file when there are none."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        if rows:
            writer = csv.DictWriter(opened, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
