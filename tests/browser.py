"""Headless Chromium for tests of pages: opens one at a size, says how it looked and what it complained of."""

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FRAME = """<!DOCTYPE html><meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<body style="margin: 0"><iframe src="{page}" style="border: 0; width: {width}px; height: {height}px">
</iframe>"""
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
CONSOLE = re.compile(r'^\[.*?:CONSOLE[:(].*?\] "(.*)", source: ', flags=re.M)


@dataclass(frozen=True)
class Visit:
    """What came of opening a page: the picture, and what the console was told."""

    picture: Path
    console: list[str]


def visit(page: Path, picture: Path, *, width: int = 1280, height: int = 900, scheme: str = "light") -> Visit:
    """Opens a local page in a fresh profile; framed, as Chromium's own windows are at least 500 wide."""
    assert CHROMIUM, "guard with skipif(CHROMIUM is None)"
    frame = picture.with_suffix(".frame.html")
    frame.write_text(FRAME.format(page=page.resolve().as_uri(), width=width, height=height))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = [
            *QUIET,
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
            f"--screenshot={picture}",
        ]
        done = subprocess.run(
            [CHROMIUM, *flags, frame.resolve().as_uri()], capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stderr[-2000:]
    return Visit(picture, CONSOLE.findall(done.stderr))
