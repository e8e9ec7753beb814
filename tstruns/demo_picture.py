"""The demo's picture: both arms' loss curves over the steps, the switch marked."""

from pathlib import Path

from .demo_settings import DemoSettings
from .run_directory import RunDirectory

COLOURS = {"baseline": "#555555", "tst": "#c2410c"}
HELDOUT = "metrics/eval/LanguageCrossEntropy"


def draw_curves(runs: dict[str, RunDirectory], settings: DemoSettings, picture: Path) -> None:
    """Writes a PNG: training loss as lines (means over 1 % of the steps), held-out loss as dots."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    window = max(1, settings.steps // 100)
    bottom, top = [], []
    for name, run in runs.items():
        lines = list(run.metrics())
        for key, style, what in (
            ("loss/train/superposition", ":", "multi-hot loss on bags (another scale)"),
            ("loss/train/next_token", "-", "training loss"),
        ):
            points = [(line["batch"], line[key]) for line in lines if key in line]
            steps, losses = smoothed(points, window)
            if steps:
                axes.plot(steps, losses, style, color=COLOURS[name], linewidth=1.2, label=f"{name}: {what}")
                bottom.append(min(losses))
                top.append(losses[len(losses) // 10])
        dots = [(line["batch"], line[HELDOUT]) for line in lines if HELDOUT in line]
        axes.plot(
            *zip(*dots, strict=True), "o", color=COLOURS[name], markersize=4, label=f"{name}: held-out loss"
        )
    axes.axvline(settings.switch, color="#999999", linewidth=1, linestyle="--")
    axes.text(settings.switch, max(top), f" switch, step {settings.switch}", va="top", color="#666666")
    axes.set(
        xlabel="step (equal FLOPs)", ylabel="loss (nats a token)", ylim=(min(bottom) - 0.1, max(top) + 0.1)
    )
    axes.set_title(f"{settings.steps} steps, s = {settings.bag_size}, r = {settings.superposition_ratio}")
    axes.legend(fontsize=8)
    figure.savefig(picture, dpi=120)


def smoothed(points: list[tuple[int, float]], window: int) -> tuple[list[float], list[float]]:
    """Returns the means of consecutive windows of (step, loss) points; a last, shorter one included."""
    groups = [points[start : start + window] for start in range(0, len(points), window)]
    means = [[sum(values) / len(group) for values in zip(*group, strict=True)] for group in groups]
    return [mean[0] for mean in means], [mean[1] for mean in means]
