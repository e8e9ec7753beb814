"""What the paper measured: its main runs and its four (s, r) sweeps, read from the tables in `paper/`.

Source: Peng, Gigant, Quesnelle, "Efficient Pre-Training with Token Superposition", arXiv:2605.06546;
`paper/sources.csv` names the table behind each file. Final loss is the training loss of the last step, one
run a point.
"""

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = [
    "STEP_TOKENS",
    "TOTAL_PARAMS",
    "MainResult",
    "Measured",
    "Neighbours",
    "Sweep",
    "main_results",
    "nearest_sweep",
    "neighbours",
    "sweeps",
]

TABLES = Path(__file__).parent / "paper"
# The paper's names for its models, and what their shapes (`recipes/`) come to.
TOTAL_PARAMS = {"270M": 253_954_368, "600M": 560_886_720, "3B": 3_337_766_912, "10B-A1B": 10_489_144_832}
# Equivalent tokens a step: 2M, and 8M for the mixture of experts.
STEP_TOKENS = {"270M": 2**21, "600M": 2**21, "3B": 2**21, "10B-A1B": 2**23}


@dataclass(frozen=True)
class Measured:
    """One point of a sweep; ``difference``: its final loss minus the baseline's, below 0 if better."""

    bag_size: int
    superposition_ratio: float
    final_loss: float
    difference: float


@dataclass(frozen=True)
class Sweep:
    """Every (s, r) measured for one model, number of steps and weighting, and the baseline beside them."""

    model: str
    total_steps: int
    step_tokens: int
    weighting: str
    source: str
    baseline_loss: float
    points: tuple[Measured, ...]

    @property
    def total_params(self) -> int:
        """Parameters of the model."""
        return TOTAL_PARAMS[self.model]

    @property
    def equivalent_tokens(self) -> int:
        """Latent positions trained on, the same for all points."""
        return self.total_steps * self.step_tokens

    @property
    def best(self) -> Measured:
        """The point of least loss."""
        return min(self.points, key=lambda point: point.final_loss)


@dataclass(frozen=True)
class Neighbours:
    """The points around an (s, r): itself if measured, else up to four. ``outside``: axes it lies beyond."""

    points: tuple[Measured, ...]
    is_measured: bool
    outside: tuple[str, ...]


@dataclass(frozen=True)
class MainResult:
    """A row of the paper's main results; ``tokens_b`` in billions, as printed there."""

    model: str
    params: str
    superposition_steps: int
    total_steps: int
    bag_size: int
    superposition_tokens_b: float
    total_tokens_b: float
    b200_hours: float
    final_loss: float

    @property
    def equivalent_tokens(self) -> int:
        """Latent positions trained on."""
        return self.total_steps * STEP_TOKENS[self.params]


def _rows(name: str) -> list[dict[str, str]]:
    with (TABLES / name).open(newline="") as file:
        return list(csv.DictReader(file))


@cache
def sweeps() -> tuple[Sweep, ...]:
    """Return the paper's four sweeps."""
    found = []
    for entry in _rows("sources.csv"):
        if not entry["model"]:
            continue
        rows = _rows(entry["file"])
        baseline = next(float(row["final_loss"]) for row in rows if row["bag_size"] == "1")
        points = tuple(
            Measured(int(row["bag_size"]), float(row["superposition_ratio"]), loss, round(loss - baseline, 4))
            for row in rows
            if row["bag_size"] != "1" and (loss := float(row["final_loss"]))
        )
        found.append(
            Sweep(
                model=entry["model"],
                total_steps=int(entry["total_steps"]),
                step_tokens=int(entry["step_tokens"]),
                weighting=entry["weighting"],
                source=entry["source"],
                baseline_loss=baseline,
                points=points,
            )
        )
    return tuple(found)


@cache
def main_results() -> tuple[MainResult, ...]:
    """Return the rows of the paper's main results."""
    results = []
    for row in _rows("main_results.csv"):
        steps = (int(row[key]) for key in ("superposition_steps", "total_steps", "bag_size"))
        rest = ("superposition_tokens_b", "total_tokens_b", "b200_hours", "final_loss")
        results.append(MainResult(row["model"], row["params"], *steps, *(float(row[key]) for key in rest)))
    return tuple(results)


def nearest_sweep(total_params: int, equivalent_tokens: int, weighting: str) -> Sweep:
    """Return the sweep nearest in size and length, as ratios; of this weighting if swept, else of uniform."""
    swept = [sweep for sweep in sweeps() if sweep.weighting == weighting]
    swept = swept or [sweep for sweep in sweeps() if sweep.weighting == "uniform"]

    def distance(sweep: Sweep) -> float:
        size = math.log(total_params / sweep.total_params)
        length = math.log(equivalent_tokens / sweep.equivalent_tokens)
        return math.hypot(size, length)

    return min(swept, key=distance)


def neighbours(sweep: Sweep, bag_size: int, superposition_ratio: float) -> Neighbours:
    """Return the measured points that enclose (s, r); beyond the sweep's edge, those of the edge."""
    sizes, size_outside = _enclosing(sorted({point.bag_size for point in sweep.points}), bag_size)
    ratios, ratio_outside = _enclosing(
        sorted({point.superposition_ratio for point in sweep.points}), superposition_ratio
    )
    points = tuple(
        point for point in sweep.points if point.bag_size in sizes and point.superposition_ratio in ratios
    )
    is_measured = len(sizes) == len(ratios) == len(points) == 1 and not (size_outside or ratio_outside)
    outside = (("bag_size",) if size_outside else ()) + (("superposition_ratio",) if ratio_outside else ())
    return Neighbours(points, is_measured, outside)


def _enclosing(values: list[float], wanted: float) -> tuple[set[float], bool]:
    """Return the one or two of the sorted values around ``wanted``, and whether it is beyond all of them."""
    below = [value for value in values if value <= wanted or math.isclose(value, wanted)]
    above = [value for value in values if value >= wanted or math.isclose(value, wanted)]
    return {*below[-1:], *above[:1]}, not (below and above)
