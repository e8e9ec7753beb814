"""Loss curves of an arm over steps, FLOPs, tokens of text and hours, as mean and range over its seeds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .arms import Arm
from .finished_run import EVAL_LOSS, FinishedRun

__all__ = ["AXES", "Axis", "Point", "compared_from", "eval_curve", "switch_at", "train_curve"]

NEXT_TOKEN_LOSS = "loss/train/next_token"
# Training losses of single batches are noise: a point is the mean over so large a share of the run.
WINDOW = 0.01


@dataclass(frozen=True)
class Axis:
    """What a curve is drawn over: a name for files, a label, and its value on a line of metrics.jsonl."""

    name: str
    label: str
    value: Callable[[FinishedRun, dict[str, Any]], float]


AXES = (
    Axis("steps", "optimizer steps", lambda run, line: line["batch"]),
    Axis(
        "flops",
        "training FLOPs",
        lambda run, line: line["equivalent_tokens"] * run.summary["flops_per_position"],
    ),
    Axis("tokens", "tokens of text read", lambda run, line: line["tokens"]),
    Axis("hours", "hours of training", lambda run, line: line["wall_seconds"] / 3600),
)


@dataclass(frozen=True)
class Point:
    """One point of a curve: the mean over the seeds, and the lowest and the highest of them."""

    at: float
    mean: float
    low: float
    high: float


def eval_curve(arm: Arm, axis: Axis) -> list[Point]:
    """Returns the evaluation losses at every step that all runs of the arm were evaluated at."""
    return _over_seeds(
        [
            {
                line["batch"]: (axis.value(run, line), line[EVAL_LOSS])
                for line in run.lines
                if line.get(EVAL_LOSS) is not None
            }
            for run in arm.runs
        ]
    )


def train_curve(arm: Arm, axis: Axis) -> list[Point]:
    """Returns the training loss of the next token, in windows; the superposition phase has none."""
    window = max(1, round(WINDOW * arm.steps))
    return _over_seeds([_windows(run, axis, window) for run in arm.runs])


def _windows(run: FinishedRun, axis: Axis, window: int) -> dict[int, tuple[float, float]]:
    """Returns {number of the window: (place, loss)}, its place and loss being means."""
    groups: dict[int, list[tuple[float, float]]] = {}
    for line in run.lines:
        if line.get(NEXT_TOKEN_LOSS) is not None:
            groups.setdefault((line["batch"] - 1) // window, []).append(
                (axis.value(run, line), line[NEXT_TOKEN_LOSS])
            )
    return {
        number: (sum(at for at, _ in group) / len(group), sum(loss for _, loss in group) / len(group))
        for number, group in groups.items()
    }


def _over_seeds(runs: list[dict[int, tuple[float, float]]]) -> list[Point]:
    shared = sorted(set(runs[0]).intersection(*runs[1:]))
    points = []
    for key in shared:
        places, losses = zip(*(run[key] for run in runs), strict=True)
        points.append(Point(sum(places) / len(places), sum(losses) / len(losses), min(losses), max(losses)))
    return points


def switch_at(arm: Arm, axis: Axis) -> float | None:
    """Returns where on an axis the switch is; None for a run that has none, or began after it."""
    places = [axis.value(run, line) for run in arm.runs for line in run.lines if line["batch"] == arm.switch]
    return sum(places) / len(places) if places else None


def compared_from(end: float, switch: float | None) -> float:
    """Returns the place on an axis from which on a curve must be seen whole.

    What comes before falls steeply, from the start and again after the switch, and would flatten the rest;
    and an evaluation in the superposition phase is of a model that was never trained on single tokens.
    """
    after = 0.0 if switch is None else switch + 0.15 * (end - switch)
    return max(0.4 * end, after)
