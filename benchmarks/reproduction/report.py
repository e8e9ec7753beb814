"""The report from the CSVs that the runs left in a directory: claims.csv, figures, and the page beside it.

    python benchmarks/reproduction/report.py docs/reproduction

writes claims.csv, curves.svg and loss-over-s.svg into docs/reproduction, and the results between the two
markers of docs/reproduction.md, if there is such a page. `run.py --report-to` does it after the runs.
"""

import argparse
import sys
from pathlib import Path

from claims import claim_rows
from experiment import Experiment, load
from figures import curves, loss_over_s, sweeps
from page import results_text, write_between_markers
from repetition import read_repetition
from results import read_results, write_csv

TABLE = Path(__file__).with_name("arms.yaml")


def main() -> int:
    """Writes the report of the whole table; returns 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="directory of the CSVs")
    write_report(load(TABLE), parser.parse_args().folder)
    return 0


def write_report(experiment: Experiment, folder: Path) -> None:
    """Writes all that the tables of a directory say into it, and into the page of its name beside it."""
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
    page = folder.with_name(f"{folder.name}.md")
    if page.is_file():
        repetition = read_repetition(folder)
        write_between_markers(page, results_text(experiment, arms, claims, repetition, found, folder.name))


if __name__ == "__main__":
    sys.exit(main())
