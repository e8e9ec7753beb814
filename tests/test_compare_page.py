"""The report of `tst compare` in a real browser: it renders, complains of nothing, and fits the screen."""

import json
from pathlib import Path

import pytest
from browser import CHROMIUM, visit
from finished_runs import write
from matplotlib.image import imread

from tstruns.compare import compare

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path; apt-get install chromium")
# The page measures itself and says so on the console; only the test's copy of it has this.
PROBE = """<script>
const boxes = css => [...document.querySelectorAll(css)].map(one => one.getBoundingClientRect());
const edge = document.documentElement.clientWidth + 1;
const cut = boxes("main > *, figure, svg").filter(box => box.right > edge);
const lines = boxes("svg path").filter(box => box.width > 20);
console.log(JSON.stringify([innerWidth, boxes("svg").length, cut.length, lines.length]));
</script></body>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    runs = [
        write(folder / f"tst{seed}", 2.9 + seed / 50, bag_size=4, switch=30, seed=seed) for seed in (1, 2)
    ]
    runs.append(write(folder / "bags", 2.95, bag_size=2, switch=30))
    runs += [write(folder / f"base{steps}", 3.0 - steps / 999, steps=steps) for steps in (100, 200)]
    return compare(runs, folder / "out").report


def shown(page: Path, tmp_path: Path, width: int, scheme: str):
    probed = tmp_path / "page.html"
    probed.write_text(page.read_text().replace("</body>", PROBE))
    return visit(probed, tmp_path / "page.png", width=width, scheme=scheme)


def brightness(picture: Path) -> float:
    return float(imread(picture)[:5, :5, :3].mean())


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_renders_with_no_console_message_and_nothing_cut_off(page, tmp_path, width, scheme):
    seen = shown(page, tmp_path, width, scheme)
    (measured,) = seen.console  # and so nothing else was said
    inner_width, plots, cut_off, lines = json.loads(measured)
    assert (inner_width, plots, cut_off) == (width, 6, 0)
    assert lines > 6 * 4
    assert (brightness(seen.picture) > 0.95) == (scheme == "light")
    assert (brightness(seen.picture) < 0.2) == (scheme == "dark")


def test_a_console_error_would_be_seen(page, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text().replace("</body>", "<script>nothing.here()</script></body>"))
    assert any("nothing is not defined" in line for line in visit(broken, tmp_path / "b.png").console)
