"""The reproduction's two figures, from its tables alone: loss curves, and final loss over bag size."""

from typing import TYPE_CHECKING

from experiment import Experiment
from results import ArmResult

from tstruns.arms import Spread
from tstruns.bag_sizes import Sweep
from tstruns.compare_plots import bag_sizes_svg, colour_of
from tstruns.curves import compared_from
from tstruns.svg import draw_svg, limits, standalone

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def sweeps(experiment: Experiment, arms: dict[str, ArmResult]) -> list[Sweep]:
    """Returns a sweep over bag sizes for each width and length of which two TST arms or more are finished.

    Arms of one superposition ratio count that are TST in full with uniform weights; the baseline is s = 1.
    """
    groups: dict[tuple[tuple[str, float | None], int, float], dict[int, Spread]] = {}
    for arm in arms.values():
        kind = arm.settings
        if arm.switch and kind.mode == "full" and kind.weighting == "uniform" and not kind.reinitialise:
            points = groups.setdefault((kind.setting, kind.steps, kind.ratio), {})
            points[kind.bag_size] = arm.eval_loss
    for (setting, steps, _), points in groups.items():
        for arm in arms.values():
            if not arm.switch and (arm.settings.setting, arm.steps) == (setting, steps):
                points[1] = arm.eval_loss
    return [
        Sweep(
            f"width {experiment.models[model].width}, {steps:,} steps",
            tuple(sorted(points)),
            tuple(points[size] for size in sorted(points)),
        )
        for ((model, _), steps, _), points in sorted(
            groups.items(), key=lambda group: (experiment.models[group[0][0][0]].width, group[0][1])
        )
        if len(points) > 2 - (1 not in points)
    ]


def loss_over_s(found: list[Sweep]) -> str:
    """Returns final loss over bag size as an SVG file's text."""
    return standalone(bag_sizes_svg(found, with_legend=True))


def curves(arms: list[ArmResult]) -> str:
    """Returns the evaluation losses of arms over their steps as an SVG file's text.

    Lines are means over the seeds, bands the range, dashed lines the switch.
    """

    def draw(axes: "Axes") -> None:
        shown = []
        for number, arm in enumerate(arms):
            colour = colour_of(number)
            steps = [step for step, _ in arm.curves[0]]
            losses = [Spread(tuple(loss for _, loss in at)) for at in zip(*arm.curves, strict=True)]
            axes.plot(
                steps,
                [loss.mean for loss in losses],
                color=colour,
                linewidth=1.6,
                marker="o",
                markersize=3,
                label=f"{arm.name} ({len(arm.curves)} seed{'s' * (len(arm.curves) > 1)})",
            )
            lows, highs = [min(loss.values) for loss in losses], [max(loss.values) for loss in losses]
            axes.fill_between(steps, lows, highs, color=colour, alpha=0.18, linewidth=0)
            if arm.switch:
                axes.axvline(arm.switch, color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
            start = compared_from(arm.steps, arm.switch or None)
            ranges = zip(steps, lows, highs, strict=True)
            shown += [loss for step, low, high in ranges if step > start for loss in (low, high)]
        axes.set(xlabel="optimizer steps", ylabel="held-out loss (nats a token)", ylim=limits(shown))
        axes.figure.legend(loc="outside lower center", ncols=2)

    return standalone(draw_svg(draw, "curves", height=4.4))
