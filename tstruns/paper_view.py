"""Where a run lies among what the paper measured, the loss seen there, and what that does not say."""

from dataclasses import dataclass

from .flops import flops_per_position
from .gpus import PEAK_BF16_FLOPS
from .paper_results import (
    TOTAL_PARAMS,
    MainResult,
    Measured,
    Neighbours,
    Sweep,
    main_results,
    nearest_sweep,
    neighbours,
)
from .run_size import RunSize
from .shapes import ModelShape

__all__ = ["PaperView", "paper_view"]


@dataclass(frozen=True)
class PaperView:
    """The nearest sweep, its points around (s, r), its best, the paper's runs of this size, and the limits.

    ``neighbours`` is None for a baseline. ``utilisations``: for each of ``same_size``, the share of B200 peak
    that its printed hours come to, by the FLOPs counted here.
    """

    sweep: str
    source: str
    baseline_loss: float
    neighbours: Neighbours | None
    best: Measured
    same_size: tuple[MainResult, ...]
    utilisations: tuple[float, ...]
    limits: tuple[str, ...]


def paper_view(shape: ModelShape, size: RunSize, weighting: str) -> PaperView:
    """Return what the paper measured nearest to a run."""
    equivalent_tokens = size.steps * size.step_tokens
    sweep = nearest_sweep(shape.total_params, equivalent_tokens, weighting)
    superposes = size.bag_size > 1 and size.superposition_batches > 0
    around = neighbours(sweep, size.bag_size, size.superposition_ratio) if superposes else None
    same_size = tuple(
        row for row in main_results() if 0.8 < shape.total_params / TOTAL_PARAMS[row.params] < 1.25
    )
    per_position = flops_per_position(shape, size.seq_len)
    utilisations = tuple(
        row.equivalent_tokens * per_position / (row.b200_hours * 3600 * PEAK_BF16_FLOPS["B200"])
        for row in same_size
    )
    name = f"{sweep.model}, {sweep.total_steps:,} steps, {sweep.weighting} weights"
    limits = _limits(shape, size, weighting, sweep, around)
    return PaperView(
        name, sweep.source, sweep.baseline_loss, around, sweep.best, same_size, utilisations, limits
    )


def _limits(
    shape: ModelShape, size: RunSize, weighting: str, sweep: Sweep, around: Neighbours | None
) -> tuple[str, ...]:
    """Return what keeps the sweep's numbers from being a forecast for this run."""
    tokens = size.steps * size.step_tokens
    per_param = tokens / shape.total_params
    least = min(row.equivalent_tokens / TOTAL_PARAMS[row.params] for row in main_results())
    ratios = (shape.total_params / sweep.total_params, tokens / sweep.equivalent_tokens)
    scale = "Same" if all(0.9 < ratio < 1.1 for ratio in ratios) else "Other"
    found = [
        "Other data: the sweep read DCLM in Llama-3 tokens; its loss is the training loss at the last step, "
        "of one run a point, with no spread over seeds given.",
        f"{scale} scale: {sweep.total_params / 1e6:,.0f}M parameters at {sweep.equivalent_tokens / 1e9:,.0f} "
        f"B equivalent tokens ({sweep.equivalent_tokens / sweep.total_params:,.0f} a parameter); this run: "
        f"{shape.total_params / 1e6:,.4g}M at {tokens / 1e9:,.3g} B ({per_param:,.3g} a parameter).",
    ]
    if per_param < least:
        found.append(
            f"No run of the paper had fewer than {least:.1f} equivalent tokens a parameter; with "
            f"{per_param:.2g}, nothing it measured says whether TST gains or loses."
        )
    if shape.inactive_params:
        found.append("Other kind: the swept models are dense, this one is a mixture of experts.")
    if around is not None and around.outside:
        found.append(
            f"Beyond the sweep in {' and '.join(around.outside)}: the edge is shown, not a continuation of "
            "it."
        )
    if weighting != sweep.weighting:
        found.append(f"Weighting {weighting!r} was not swept; the points shown are of {sweep.weighting!r}.")
    if size.mode != "full":
        found.append(
            f"Mode {size.mode!r} was not swept, only run at s = 4, r = 0.5, where it beat the baseline and "
            "lost to both halves together; the points shown are of 'full'."
        )
    return tuple(found)
