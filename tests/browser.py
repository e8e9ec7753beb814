"""Headless Chromium for tests of pages: opens one at a size, says how it looked and what it complained of."""

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCHEMES = {"dark": 0, "light": 1}
QUIET = [
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--log-level=0",
]
CONSOLE = re.compile(r"^\[.*?:CONSOLE[:(].*$", flags=re.M)


@dataclass(frozen=True)
class Visit:
    """What came of opening a page: the picture, the document after scripts have run, the console's lines."""

    picture: Path
    document: str
    console: list[str]


def visit(page: Path, picture: Path, *, width: int = 1280, height: int = 900, scheme: str = "light") -> Visit:
    """Opens a local page in a fresh profile."""
    assert CHROMIUM, "guard with skipif(CHROMIUM is None)"
    console, document = [], ""
    # A picture and the document are two calls: Chromium gives either.
    for ask in (f"--screenshot={picture}", "--dump-dom"):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            flags = [
                *QUIET,
                *(["--no-sandbox"] if os.geteuid() == 0 else []),
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
            ]
            done = subprocess.run(
                [CHROMIUM, *flags, ask, page.resolve().as_uri()], capture_output=True, text=True, timeout=120
            )
        assert done.returncode == 0, done.stderr[-2000:]
        console += CONSOLE.findall(done.stderr)
        document += done.stdout if ask == "--dump-dom" else ""
    return Visit(picture, document, console)
