"""`tst compare`: run directories in; a self-contained HTML report, and its numbers as CSV, out."""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .arms import Arm, group_into_arms
from .bag_sizes import sweeps_of
from .compare_plots import bag_sizes_svg, curves_svg, lengths_svg
from .compare_tables import comparison_tables, equal_flops_sentences
from .curves import AXES
from .finished_run import check_comparable, load_run
from .svg import ARM_COLOURS, DARK, LIGHT, variables

__all__ = ["Comparison", "compare"]

REPORT, RUNS, COMPARISONS = "report.html", "runs.csv", "comparisons.csv"


@dataclass(frozen=True)
class Comparison:
    """What `compare` leaves: the report's path, and what it found at equal FLOPs in words."""

    report: Path
    sentences: tuple[str, ...]


def compare(runs: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> Comparison:
    """Writes report.html, runs.csv and comparisons.csv into a directory.

    Args:
        runs: Directories of finished runs.
        out: Made if needed; a report that is there is replaced.

    Raises:
        FileNotFoundError: One is no run directory.
        ValueError: Fewer than two runs, or runs that are unfinished or cannot be compared.
    """
    if len(runs) < 2:
        raise ValueError(f"found {len(runs)} run; a comparison needs two or more run directories")
    loaded = [load_run(Path(path)) for path in runs]
    check_comparable(loaded)
    arms = group_into_arms(loaded)
    tables = comparison_tables(arms)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(folder / RUNS, run_rows(arms))
    _write_csv(folder / COMPARISONS, [row.values for table in tables for row in table.rows])
    page = _page(arms, tables)
    aside = folder / f"{REPORT}.tmp"
    aside.write_text(page, encoding="utf-8")
    aside.replace(folder / REPORT)
    return Comparison(folder / REPORT, tuple(equal_flops_sentences(arms)))


def run_rows(arms: list[Arm]) -> list[dict[str, Any]]:
    """Returns one row of plain values a run."""
    return [
        {
            "arm": arm.name,
            "run": str(run.path),
            "seed": run.seeds[0],
            "shuffle_seed": run.seeds[1],
            "steps": run.steps,
            "bag_size": arm.bag_size,
            "superposition_steps": arm.switch,
            "flops": run.flops,
            "tokens": run.tokens,
            "equivalent_tokens": run.summary["equivalent_tokens"],
            "hours": round(run.hours, 5),
            "num_ranks": run.summary["num_ranks"],
            "device": run.summary["device"],
            "train_loss": run.train_loss,
            "eval_loss": run.eval_loss,
        }
        for arm in arms
        for run in arm.runs
    ]


def _write_csv(file: Path, rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, columns)
        writer.writeheader()
        writer.writerows(rows)


def _page(arms: list[Arm], tables: list[Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("tstruns", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    plots = [(f"Loss over {axis.label}", Markup(curves_svg(arms, axis))) for axis in AXES]
    if len({arm.steps for arm in arms}) > 1:
        plots.append(("Final loss by length", Markup(lengths_svg(arms))))
    sweeps = sweeps_of(arms)
    if sweeps:
        plots.append(("Final loss by bag size", Markup(bag_sizes_svg(sweeps, with_legend=len(sweeps) > 1))))
    first = arms[0].runs[0]
    return environment.get_template("compare.html").render(
        arms=arms,
        num_colours=len(ARM_COLOURS),
        light=Markup(variables(LIGHT)),
        dark=Markup(variables(DARK)),
        sentences=equal_flops_sentences(arms),
        tables=tables,
        plots=plots,
        num_runs=sum(len(arm.runs) for arm in arms),
        num_parameters=first.summary["num_parameters"],
        seq_len=first.summary["train_data"]["seq_len"],
        model_type=first.keys["model.config.model_type"],
    )
