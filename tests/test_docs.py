"""Every code block of README, docs and the method card is run, page by page, in a fresh directory.

A page is a story: its blocks run in order and share one directory. ```bash blocks run with the
environment's own commands first on the path, ```python blocks run as scripts, and a ```yaml block is the
file named in its first line (`# run.yaml`). What is only shown (output, file trees) is marked ```text.
Pages in docs/foundry/ are executed by `make test-foundry`, in LLM Foundry's environment; here only their
fences and links are looked at. Two pages are run at a time: most of their time is commands starting up.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "composer_algo" / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
EXECUTED = [page for page in PAGES if page.parent.name != "foundry"]
# Pages of many runs; `make test-slow` has them.
LONG = [ROOT / "docs" / name for name in ("add-tst.md", "cloud.md", "compare.md", "train.md")]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.M | re.S)


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text())


def run_block(language: str, code: str, folder: Path, name: str) -> None:
    if language == "yaml":
        file = re.match(r"# (\S+\.yaml)\n", code)
        assert file, f"{name}: a yaml block starts with the name of its file, as in `# run.yaml`"
        (folder / file[1]).write_text(code)
        return
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    command = {"bash": ["bash", "-euo", "pipefail", "-c", code], "python": [sys.executable, "-c", code]}[
        language
    ]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{name} failed:\n{code}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def run_page(page: Path, folder: Path) -> None:
    for number, (language, code) in enumerate(blocks(page), 1):
        if language != "text":
            run_block(language, code, folder, f"{page.name}, block {number}")


@pytest.fixture(scope="module")
def pages_run(request, tmp_path_factory) -> Iterator[dict[Path, Future[None]]]:
    """The pages that were asked for, being run in a directory each."""
    wanted = {
        item.callspec.params["page"] for item in request.session.items if "pages_run" in item.fixturenames
    }
    with ThreadPoolExecutor(2) as pool:
        yield {
            page: pool.submit(run_page, page, tmp_path_factory.mktemp(page.stem))
            for page in EXECUTED
            if page in wanted
        }


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow) if page in LONG else page for page in EXECUTED],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_block_of_the_page_runs_in_order(page, pages_run):
    pages_run[page].result()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_fence_says_what_it_is_and_closes(page):
    fences = re.findall(r"^```.*$", page.read_text(), flags=re.M)
    assert len(fences) % 2 == 0
    assert {fence[3:] for fence in fences[::2]} <= {"text", "bash", "python", "yaml"}
    assert set(fences[1::2]) <= {"```"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
