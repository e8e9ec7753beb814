"""Plots as SVG whose colours are variables of its page, or of its own: light or dark as the screen is."""

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ARM_COLOURS", "DARK", "FAINT", "LIGHT", "draw_svg", "limits", "standalone", "variables"]

NUM_COLOURS = 12


def _palette(ground: str, ink: str, faint: str, arms: str) -> dict[str, str]:
    numbered = {f"arm-{number}": colour for number, colour in enumerate(arms.split())}
    assert len(numbered) == NUM_COLOURS
    return {"ground": ground, "ink": ink, "faint": faint, **numbered}


LIGHT = _palette(
    "#ffffff",
    "#1b1f24",
    "#9aa2ac",
    "#3b6fb6 #c2571a #2c8a5b #8b4fb0 #a67c00 #c03a6b #0f8a94 #7b4b2a #6a8f00 #4f5b66 #1f3a93 #b0413e",
)
DARK = _palette(
    "#14171b",
    "#e7eaee",
    "#6d7783",
    "#7fb0f0 #f2955c #66cf98 #c99aee #e0bb4a #f286ae #5fd0da #d3a27f #b5dc4b #b6c2cd #93a5ff #ff9d99",
)
# Stand-ins in what matplotlib writes, each replaced by a variable.
INK = "#010203"
FAINT = "#040506"
ARM_COLOURS = [f"#a0b0c{number:x}" for number in range(NUM_COLOURS)]
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
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def draw_svg(draw: "Callable[[Axes], None]", name: str, height: float = HEIGHT) -> str:
    """Returns a figure as an SVG element, its ids its own and its colours variables.

    Args:
        draw: Draws on the figure's axes, in the colours of `ARM_COLOURS` and `FAINT`.
        name: Of the figure, unlike any other of its page.
        height: Inches.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
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


def standalone(svg: str) -> str:
    """Returns the element as a file of its own: with its colours, and a ground under it."""
    light, dark = variables(LIGHT), variables(DARK)
    style = (
        f"<style>:root {{ {light} }} @media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}</style>"
        '<rect width="100%" height="100%" style="fill: var(--ground)"/>'
    )
    return re.sub(r"(<svg [^>]*>)", lambda found: f"{found[1]}\n{style}", svg, count=1)


def variables(colours: dict[str, str]) -> str:
    """Returns colours as declarations of CSS."""
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Returns an axis's limits around values, a little room at either end."""
    low, high = min(values), max(values)
    pad = 0.05 * (high - low) or 0.05
    return low - pad, high + pad
