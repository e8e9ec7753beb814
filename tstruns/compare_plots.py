"""The report's plots: loss curves, and final losses over length and over bag size."""

from typing import TYPE_CHECKING, Any

from .arms import Arm
from .bag_sizes import Sweep
from .comparisons import ladders_of
from .curves import Axis, Point, compared_from, eval_curve, switch_at, train_curve
from .svg import ARM_COLOURS, FAINT, draw_svg, limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["bag_sizes_svg", "colour_of", "curves_svg", "lengths_svg"]

LOSS = "final loss (nats a token)"


def colour_of(number: int) -> str:
    """Returns the colour of the arm of this number; after the last one they begin again."""
    return ARM_COLOURS[number % len(ARM_COLOURS)]


def curves_svg(arms: list[Arm], axis: Axis) -> str:
    """Returns the loss curves of all arms over one axis.

    Training loss as thin lines, evaluation loss as thick ones with dots, the range over seeds as bands, the
    switch as a dashed line in the arm's colour.
    """
    from matplotlib.ticker import EngFormatter

    def draw(axes: "Axes") -> None:
        seen = []
        for number, arm in enumerate(arms):
            colour = colour_of(number)
            trained, evaluated = train_curve(arm, axis), eval_curve(arm, axis)
            _line(axes, trained, colour, linewidth=0.8, alpha=0.55)
            _line(axes, evaluated, colour, linewidth=1.6, marker="o", markersize=3.0)
            at = switch_at(arm, axis)
            if at is not None:
                axes.axvline(at, color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
            for points in (trained, evaluated):
                start = compared_from(points[-1].at if points else 0, at)
                seen += [loss for point in points if point.at > start for loss in (point.low, point.high)]
        axes.set(xlabel=axis.label, ylabel="loss (nats a token)", ylim=limits(seen))
        # Labels such as 0.0012 run into each other on a phone; hours are no thing to say in thousandths.
        axes.locator_params(axis="x", nbins=5)
        if axis.name != "hours":
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))

    return draw_svg(draw, axis.name)


def lengths_svg(arms: list[Arm]) -> str:
    """Returns final loss over length: each ladder of baselines joined, TST arms as squares."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    def draw(axes: "Axes") -> None:
        joined = []
        for arm in arms:
            joined += [
                ladder for ladder in ladders_of(arm, arms) if arm.is_superposed and ladder not in joined
            ]
        for ladder in joined:
            steps = [rung.steps for rung in ladder.arms]
            axes.plot(steps, [rung.eval_loss.mean for rung in ladder.arms], color=FAINT, linewidth=1)
        for number, arm in enumerate(arms):
            loss, colour = arm.eval_loss, colour_of(number)
            axes.plot([arm.steps] * 2, [min(loss.values), max(loss.values)], color=colour, linewidth=1)
            axes.plot([arm.steps], [loss.mean], "s" if arm.is_superposed else "o", color=colour, markersize=5)
        axes.set(xlabel="optimizer steps", ylabel=LOSS, xscale="log")
        axes.set_xticks(sorted({arm.steps for arm in arms}))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda steps, _: f"{steps:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="x", rotation=30)

    return draw_svg(draw, "lengths")


def bag_sizes_svg(sweeps: list[Sweep], *, with_legend: bool = False) -> str:
    """Returns final loss over bag size: a line for each sweep, a ring at its best, bars over seeds.

    Where each has a baseline it is the distance from the baseline: widths and lengths lie far apart, and what
    a bag size does to each is small beside that.
    """
    are_distances = all(1 in sweep.sizes for sweep in sweeps)

    def draw(axes: "Axes") -> None:
        for number, sweep in enumerate(sweeps):
            colour = colour_of(number)
            zero = sweep.losses[sweep.sizes.index(1)].mean if are_distances else 0.0
            means = [loss.mean - zero for loss in sweep.losses]
            lows = [loss.mean - min(loss.values) for loss in sweep.losses]
            highs = [max(loss.values) - loss.mean for loss in sweep.losses]
            bars: dict[str, Any] = {"yerr": (lows, highs), "elinewidth": 1, "capsize": 3}
            axes.errorbar(
                sweep.sizes, means, **bars, color=colour, linewidth=1.6, marker="o", markersize=4
            ).set_label(sweep.label)
            axes.plot([sweep.best], [min(means)], "o", color=colour, markersize=10, fillstyle="none")
        sizes = sorted({size for sweep in sweeps for size in sweep.sizes})
        less = "final loss less the baseline's (nats a token)" if are_distances else LOSS
        axes.set(xlabel="bag size s (1: baseline)", ylabel=less)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        if with_legend:
            axes.figure.legend(loc="outside lower center", ncols=2)

    return draw_svg(draw, "bag-sizes", height=4.4 if with_legend else 3.4)


def _line(axes: "Axes", points: list[Point], colour: str, **style: Any) -> None:
    places = [point.at for point in points]
    axes.plot(places, [point.mean for point in points], color=colour, **style)
    if any(point.low < point.high for point in points):
        lows, highs = [point.low for point in points], [point.high for point in points]
        axes.fill_between(places, lows, highs, color=colour, alpha=0.18, linewidth=0)
