"""The report's plots as inline SVG, whose colours are the page's: light or dark as the reader's screen is."""

import io
import re
from typing import TYPE_CHECKING, Any

from .arms import Arm
from .comparisons import ladders_of
from .curves import Axis, Point, eval_curve, switch_at, train_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["NUM_COLOURS", "curves_svg", "lengths_svg"]

NUM_COLOURS = 8
# Stand-ins in what matplotlib writes, each replaced by a colour of the page.
INK = "#010203"
FAINT = "#040506"
ARM_COLOURS = [f"#a0b0c{number}" for number in range(NUM_COLOURS)]
WIDTH, HEIGHT = 4.8, 3.4  # inches; small, so that text stays readable on a phone
SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tst",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.5,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def curves_svg(arms: list[Arm], axis: Axis) -> str:
    """Returns the loss curves of all arms over one axis.

    Training loss as thin lines, evaluation loss as thick ones with dots, the range over seeds as bands, the
    switch as a dashed line in the arm's colour.
    """

    def draw(axes: "Axes") -> None:
        tops, bottoms = [], []
        for number, arm in enumerate(arms):
            colour = ARM_COLOURS[number % NUM_COLOURS]
            trained, evaluated = train_curve(arm, axis), eval_curve(arm, axis)
            _line(axes, trained, colour, linewidth=0.8, alpha=0.55)
            _line(axes, evaluated, colour, linewidth=1.6, marker="o", markersize=3.0)
            at = switch_at(arm, axis)
            if at is not None:
                axes.axvline(at, color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
            for points in (trained, evaluated):
                # The first tenth falls steeply, and would flatten the rest, which is what is compared.
                shown = points[len(points) // 10 :]
                tops += [point.high for point in shown]
                bottoms += [point.low for point in shown]
        axes.set(xlabel=axis.label, ylabel="loss (nats a token)", ylim=_limits(bottoms, tops))
        # Labels such as 0.0012 run into each other on a phone.
        axes.locator_params(axis="x", nbins=5)

    return _svg(draw, axis.name)


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
            loss, colour = arm.eval_loss, ARM_COLOURS[number % NUM_COLOURS]
            axes.plot([arm.steps] * 2, [min(loss.values), max(loss.values)], color=colour, linewidth=1)
            axes.plot([arm.steps], [loss.mean], "s" if arm.is_superposed else "o", color=colour, markersize=5)
        axes.set(xlabel="optimizer steps", ylabel="final loss (nats a token)", xscale="log")
        axes.set_xticks(sorted({arm.steps for arm in arms}))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda steps, _: f"{steps:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="x", rotation=30)

    return _svg(draw, "lengths")


def _line(axes: "Axes", points: list[Point], colour: str, **style: Any) -> None:
    places = [point.at for point in points]
    axes.plot(places, [point.mean for point in points], color=colour, **style)
    if any(point.low < point.high for point in points):
        lows, highs = [point.low for point in points], [point.high for point in points]
        axes.fill_between(places, lows, highs, color=colour, alpha=0.18, linewidth=0)


def _limits(bottoms: list[float], tops: list[float]) -> tuple[float, float]:
    low, high = min(bottoms), max(tops)
    pad = 0.05 * (high - low) or 0.05
    return low - pad, high + pad


def _svg(draw: Any, name: str) -> str:
    """Returns a figure as an SVG element, its ids its own and its colours the page's."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    # Several figures on one page: without a prefix the clip paths of one would cut another.
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>',
        r'<svg \1 xmlns="http://www.w3.org/2000/svg" '
        r'xmlns:xlink="http://www.w3.org/1999/xlink" role="img">',
        text,
        count=1,
    )
    text = text.replace(INK, "var(--ink)").replace(FAINT, "var(--faint)")
    for number, colour in enumerate(ARM_COLOURS):
        text = text.replace(colour, f"var(--arm-{number})")
    return text
