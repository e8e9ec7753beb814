"""Every benchmark starts: what it imports is there, also from the other benchmarks."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
COMMANDS = [path for path in sorted(FOLDER.rglob("*.py")) if "ArgumentParser" in path.read_text()]


@pytest.mark.slow
@pytest.mark.parametrize("script", COMMANDS, ids=lambda path: path.stem)
def test_a_benchmark_says_how_to_call_it(script, tmp_path):
    done = subprocess.run(
        [sys.executable, str(script), "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")
