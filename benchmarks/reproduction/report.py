"""The report from the CSVs that the runs of a table left in a directory: claims.csv, figures, and a page.

    python benchmarks/reproduction/report.py docs/reproduction

writes claims.csv, curves.svg and loss-over-s.svg into docs/reproduction/main and docs/reproduction/scale, and
the results of each between its markers in docs/reproduction.md, if there is such a page. `run.py --report-to`
does it after the runs.
"""

import argparse
import sys
from pathlib import Path

from claims import claim_rows
from experiment import TABLES, Experiment, load_table
from figures import curves, loss_over_s, sweeps
from page import results_text, write_between_markers
from repetition import read_repetition
from results import RESULTS, read_results, write_csv


def main() -> int:
    """Writes the reports of the tables that have results; returns 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="directory of the tables' directories")
    folder = parser.parse_args().folder
    found = [name for name in TABLES if (folder / name / RESULTS).is_file()]
    if not found:
        parser.error(f"{folder} has no {' and no '.join(f'{name}/{RESULTS}' for name in TABLES)}")
    for name in found:
        write_report(load_table(name), folder / name)
    return 0


def write_report(experiment: Experiment, folder: Path) -> None:
    """Writes all that the CSVs of a directory say into it, and into the page beside its parent."""
    arms = read_results(experiment, folder)
    claims = claim_rows(experiment, {name: arm.by_seed for name, arm in arms.items()})
    write_csv(folder / "claims.csv", claims)
    for claim in claims:
        print(", ".join(f"{key}: {value}" for key, value in claim.items()))
    main_arms = [arms[name] for name in experiment.reports["main"] if name in arms]
    if main_arms:
        (folder / "curves.svg").write_text(curves(main_arms), encoding="utf-8")
    found = sweeps(experiment, arms)
    if found:
        (folder / "loss-over-s.svg").write_text(loss_over_s(found), encoding="utf-8")
    page = folder.parent.with_name(f"{folder.parent.name}.md")
    if page.is_file():
        place = f"{folder.parent.name}/{folder.name}"
        text = results_text(experiment, arms, claims, read_repetition(folder), found, place)
        write_between_markers(page, folder.name, text)


if __name__ == "__main__":
    sys.exit(main())
