"""The rows of benchmarks/loss.py: kept in a CSV file, so that a table can be made in pieces, and printed."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CELL = ("section", "N", "V", "dtype", "s")
NUMBERS = ("ms", "time", "MB", "memory")
COLUMNS = (*CELL, "arm", *NUMBERS, "skipped")
OURS = ("multi_hot", "sum_to_one", "linear_multi_hot")
# The cell in which the linear form has to show what it saves.
LARGEST = {"section": "linear", "N": 4096, "V": 128_256}
HEADER = "| section | N | V | dtype | s | arm | ms | time / (a) | extra MB | memory / (a) |"


def load(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a file, none if there is none."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [typed(row) for row in csv.DictReader(file)]


def typed(row: dict[str, str]) -> dict[str, Any]:
    """Turn a line's strings into what they were."""
    counts = {name: int(row[name]) for name in ("N", "V", "s")}
    numbers = {name: float(row[name]) if row[name] else None for name in NUMBERS}
    return {**row, **counts, **numbers}


def append(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Add the rows of a whole cell: what was killed in the middle of a cell leaves none of it."""
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if fresh:
            writer.writeheader()
        writer.writerows(rows)


def cell_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what makes a cell: one set of inputs."""
    return tuple(row[name] for name in CELL)


def line(row: dict[str, Any]) -> str:
    """Return one line of the table."""
    start = (
        f"| {row['section']} | {row['N']:,} | {row['V']:,} | {row['dtype']} | {row['s']} | {row['arm']} | "
    )
    if row["skipped"]:
        return start + f"skipped: {row['skipped']} | | | |"
    return start + f"{row['ms']:,.0f} | {row['time']:.2f} | {row['MB']:,.0f} | {row['memory']:.2f} |"


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print every row, and for each of our fast forms its worst ratios beside what is to be reached."""
    print(HEADER + "\n" + "|---" * HEADER.count(" | ") + "|---|")
    for row in rows:
        print(line(row))
    measured = [row for row in rows if not row["skipped"]]
    for name in OURS:
        mine = [row for row in measured if row["arm"] == name]
        if mine:
            print(f"\n{name}, at worst: {worst(mine)} of (a); {flatness(mine)}")
    largest = [row for row in measured if row["arm"] == "linear_multi_hot" and LARGEST.items() <= row.items()]
    if largest:
        print(f"linear_multi_hot at N = 4,096, V = 128,256: {worst(largest)} of (a)")
    print(
        "\nTo reach: multi_hot 1.10 of the time and 1.00 of the memory; linear_multi_hot at N = 4,096 and ",
        end="",
    )
    print("V = 128,256 1.00 of the time and 0.35 of the memory; largest s within 0.90 to 1.10 of smallest.")


def worst(rows: list[dict[str, Any]]) -> str:
    """Return the largest ratios of time and memory in words."""
    time, memory = (max(row[name] for row in rows) for name in ("time", "memory"))
    return f"{time:.2f} of the time and {memory:.2f} of the memory"


def flatness(rows: list[dict[str, Any]]) -> str:
    """Return how the time of the largest s compares with that of the smallest, in the cell where most."""
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["s"]):
        cells.setdefault(cell_of(row)[:-1], []).append(row)
    # As ratios to (a) of the same rounds: a large table takes long enough for a machine to change.
    most = max(cell[-1]["time"] / cell[0]["time"] for cell in cells.values())
    return f"largest s {most:.2f} of the time of the smallest"
