"""The report's comparisons as tables: each row once as text to read and once as values for the CSV."""

from dataclasses import dataclass
from typing import Any

from .arms import Arm, Spread
from .bag_sizes import Sweep, sweeps_of
from .comparisons import EqualFlops, equal_data, equal_flops, equal_loss, ladders_of
from .ladder import Ladder

__all__ = ["Row", "Table", "comparison_tables", "equal_flops_sentences"]


@dataclass(frozen=True)
class Row:
    """One line of a table: its cells as text, and its values by name."""

    cells: tuple[str, ...]
    values: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """One comparison: what it holds equal, and a row for each TST arm and ladder of baselines."""

    title: str
    explanation: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    without: tuple[str, ...]


def comparison_tables(arms: list[Arm]) -> list[Table]:
    """Returns the tables of equal FLOPs, equal loss and equal data, and of bag sizes if there are several."""
    pairs = [(arm, ladder) for arm in arms if arm.is_superposed for ladder in ladders_of(arm, arms)]
    compared = {arm.name for arm, _ in pairs}
    alone = tuple(
        f"{arm.name}: no finished baseline here differs from it in superposition and length alone"
        for arm in arms
        if arm.is_superposed and arm.name not in compared
    )
    tables = [_flops_table(pairs, alone), _loss_table(pairs, alone), _data_table(pairs, alone)]
    sweeps = sweeps_of(arms)
    return [*tables, _bag_size_table(sweeps)] if sweeps else tables


def _flops_table(pairs: list[tuple[Arm, Ladder[Arm]]], alone: tuple[str, ...]) -> Table:
    found = [(arm, equal_flops(arm, ladder)) for arm, ladder in pairs]
    matched = {arm.name for arm, pair in found if pair is not None}
    missing = {
        f"{arm.name}: no baseline of as many FLOPs was run" for arm, _ in found if arm.name not in matched
    }
    rows = [
        Row(
            (
                pair.arm.name,
                pair.baseline.name,
                loss_text(pair.arm.eval_loss),
                loss_text(pair.baseline.eval_loss),
                _gain(pair.gain, pair.standard_error),
            ),
            {
                "comparison": "equal_flops",
                **_values(pair.arm, pair.baseline.name),
                "baseline_loss": pair.baseline.eval_loss.mean,
                "gain": pair.gain,
                "standard_error": pair.standard_error,
                "reading": "measured",
            },
        )
        for _, pair in found
        if pair is not None
    ]
    return Table(
        "Equal FLOPs",
        "The same training FLOPs, which is the same number of steps at the same batch size. A gain above 0 "
        "means that TST's loss is lower; ± is the standard error over seeds.",
        ("arm", "baseline", "loss", "baseline's loss", "gain"),
        tuple(rows),
        (*alone, *sorted(missing)),
    )


def _loss_table(pairs: list[tuple[Arm, Ladder[Arm]]], alone: tuple[str, ...]) -> Table:
    rows = []
    for arm, ladder in pairs:
        result = equal_loss(arm, ladder)
        kind, steps, rungs = result.reading.kind, f"{result.reading.value:,.0f}", _rungs(ladder)
        text = {
            "measured": (steps, f"{result.ratio:.2f}×"),
            "interpolated": (f"{steps}, interpolated", f"{result.ratio:.2f}×{_range(result.ratios)}"),
            "beyond": (f"beyond the longest baseline ({steps})", f"above {result.ratio:.2f}×"),
            "before": (f"before the shortest baseline ({steps})", f"below {result.ratio:.2f}×"),
        }[kind]
        rows.append(
            Row(
                (arm.name, rungs, f"{arm.eval_loss.mean:.4f}", f"{arm.steps:,}", *text),
                {
                    "comparison": "equal_loss",
                    **_values(arm, rungs),
                    "baseline_steps": result.reading.value,
                    "ratio": result.ratio,
                    "ratio_low": result.ratios[0] if result.ratios else None,
                    "ratio_high": result.ratios[1] if result.ratios else None,
                    "reading": kind,
                },
            )
        )
    return Table(
        "Equal loss",
        "How many steps a baseline takes to TST's final loss, its own learning-rate schedule finished. "
        "Between two baselines that were run the loss is taken as a straight line over the logarithm of the "
        "steps; beyond them nothing is assumed. In brackets: the range over TST's seeds.",
        ("arm", "baselines", "loss", "its steps", "baseline's steps", "step ratio"),
        tuple(rows),
        alone,
    )


def _data_table(pairs: list[tuple[Arm, Ladder[Arm]]], alone: tuple[str, ...]) -> Table:
    rows = []
    for arm, ladder in pairs:
        result = equal_data(arm, ladder)
        kind, loss, rungs = result.reading.kind, result.reading.value, _rungs(ladder)
        text = {
            "measured": (f"{loss:.4f}", _gain(result.gain, None)),
            "interpolated": (f"{loss:.4f}, interpolated", _gain(result.gain, None)),
            "beyond": (f"beyond the longest baseline ({ladder.longest.tokens:,})", "not known"),
            "before": (f"before the shortest baseline ({ladder.arms[0].tokens:,})", "not known"),
        }[kind]
        values: dict[str, Any] = {"comparison": "equal_data", **_values(arm, rungs), "reading": kind}
        if result.reading.is_known:
            values |= {"baseline_loss": loss, "gain": result.gain}
        values["flops_ratio"] = result.flops_ratio
        cells = (
            arm.name,
            rungs,
            f"{arm.tokens:,}",
            f"{arm.eval_loss.mean:.4f}",
            *text,
            f"{result.flops_ratio:.2f}×",
        )
        rows.append(Row(cells, values))
    return Table(
        "Equal data",
        "A baseline that reads as many tokens of text as TST did. It takes more FLOPs for them, by the last "
        "column: below 0, the gain is what those FLOPs would have bought.",
        ("arm", "baselines", "tokens read", "loss", "baseline's loss", "gain", "baseline's FLOPs"),
        tuple(rows),
        alone,
    )


def _bag_size_table(sweeps: list[Sweep]) -> Table:
    rows = [
        Row(
            (sweep.label, str(size), loss_text(loss), "lowest" if size == sweep.best else ""),
            {
                "comparison": "bag_size",
                "arm": sweep.label,
                "bag_size": size,
                "loss": loss.mean,
                "reading": "measured",
            },
        )
        for sweep in sweeps
        for size, loss in zip(sweep.sizes, sweep.losses, strict=True)
    ]
    return Table(
        "Bag sizes",
        "Arms that differ in the bag size alone; s = 1 is the baseline of as many steps.",
        ("arms", "s", "loss", ""),
        tuple(rows),
        (),
    )


def equal_flops_sentences(arms: list[Arm]) -> list[str]:
    """Returns what the comparison at equal FLOPs says, one sentence for each TST arm that has one."""
    pairs = [
        equal_flops(arm, ladder) for arm in arms if arm.is_superposed for ladder in ladders_of(arm, arms)
    ]
    return [_sentence(pair) for pair in pairs if pair is not None]


def _sentence(pair: EqualFlops) -> str:
    side = "below" if pair.gain > 0 else "above"
    text = (
        f"{pair.arm.name} ends {abs(pair.gain):.4f} {side} {pair.baseline.name} at equal FLOPs "
        f"({pair.arm.eval_loss.mean:.4f} against {pair.baseline.eval_loss.mean:.4f})"
    )
    if pair.standard_error is None:
        return f"{text}; with one seed of either arm it is not known how much of that is chance."
    times = abs(pair.gain) / pair.standard_error if pair.standard_error else float("inf")
    return (
        f"{text}: {times:.1f} standard errors over {len(pair.arm.runs)} and {len(pair.baseline.runs)} seeds."
    )


def _values(arm: Arm, baseline: str) -> dict[str, Any]:
    return {
        "arm": arm.name,
        "baseline": baseline,
        "steps": arm.steps,
        "tokens": arm.tokens,
        "loss": arm.eval_loss.mean,
        "loss_deviation": arm.eval_loss.deviation,
        "seeds": len(arm.runs),
    }


def _rungs(ladder: Ladder[Arm]) -> str:
    lengths = ", ".join(f"{arm.steps:,}" for arm in ladder.arms)
    return f"{lengths} steps" + (", branched" if ladder.arms[0].is_branch else "")


def loss_text(loss: Spread) -> str:
    """Returns a loss over seeds as text."""
    if loss.deviation is None:
        return f"{loss.mean:.4f}"
    return f"{loss.mean:.4f} (sd {loss.deviation:.4f}, {len(loss.values)} seeds)"


def _gain(gain: float, error: float | None) -> str:
    return f"{gain:+.4f}" + (f" ± {error:.4f}" if error is not None else "")


def _range(ratios: tuple[float, float] | None) -> str:
    return f" ({ratios[0]:.2f} to {ratios[1]:.2f})" if ratios else ""
