"""The report's plots: loss curves, and final losses over length and over bag size."""

from typing import TYPE_CHECKING, Any

from .arms import Arm
from .bag_sizes import Sweep
from .comparisons import ladders_of
from .curves import Axis, Point, eval_curve, switch_at, train_curve
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
                # The first tenth falls steeply, and would flatten the rest, which is what is compared.
                for point in points[len(points) // 10 :]:
                    seen += [point.low, point.high]
        axes.set(xlabel=axis.label, ylabel="loss (nats a token)", ylim=limits(seen))
        # Labels such as 0.0012 run into each other on a phone.
        axes.locator_params(axis="x", nbins=5)

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
    """Returns final loss over bag size: a line for each sweep, a ring at its best, bars over seeds."""

    def draw(axes: "Axes") -> None:
        for number, sweep in enumerate(sweeps):
            colour = colour_of(number)
            means = [loss.mean for loss in sweep.losses]
            lows = [loss.mean - min(loss.values) for loss in sweep.losses]
            highs = [max(loss.values) - loss.mean for loss in sweep.losses]
            axes.errorbar(
                sweep.sizes,
                means,
                yerr=(lows, highs),
                color=colour,
                linewidth=1.6,
                marker="o",
                markersize=4,
                elinewidth=1,
                capsize=3,
                label=sweep.label,
            )
            axes.plot([sweep.best], [min(means)], "o", color=colour, markersize=10, fillstyle="none")
        sizes = sorted({size for sweep in sweeps for size in sweep.sizes})
        axes.set(xlabel="bag size s (1: baseline)", ylabel=LOSS)
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
