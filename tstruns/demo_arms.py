"""Trains the demo's two arms at the same time, one process and thread each, and shows how far both are."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .demo_settings import ARMS, DemoSettings, arm_config
from .run_directory import RunDirectory

SECONDS_BETWEEN_LOOKS = 0.5
# Without a terminal each refresh is a line of its own: few of them.
SECONDS_BETWEEN_LINES = 10.0
LONGEST_LINE = 8192


class _Arm:
    """One running arm: its process, and how far its metrics.jsonl has been read."""

    def __init__(self, name: str, out: Path, settings: DemoSettings, command: Sequence[str]) -> None:
        import yaml

        self.name = name
        self.directory = RunDirectory(out / name)
        config = out / f"{name}.yaml"
        config.write_text(yaml.safe_dump(arm_config(settings, name, out), sort_keys=False))
        self.errors = (out / f"{name}.stderr.txt").open("w+")
        # One thread each: two arms on two cores, and the same sums in the same order on every machine.
        self.process = subprocess.Popen(
            [*command, str(config)],
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.last: dict[str, Any] = {"batch": 0}

    def look(self) -> None:
        """Reads the last whole line of the arm's metrics; a resumed arm puts a shorter file in its place."""
        if self.directory.metrics_file.is_file():
            with self.directory.metrics_file.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_LINE))
                lines = file.read().split(b"\n")
            if len(lines) > 2:
                self.last = json.loads(lines[-2])

    def state(self) -> str:
        """Returns what the progress line says of this arm."""
        losses = {key: value for key, value in self.last.items() if key.startswith("loss/train/")}
        phase = " (bags)" if "loss/train/superposition" in losses else ""
        loss = "".join(f" loss {value:.3f}{phase}" for value in losses.values())
        return f"{self.name} {self.last['batch']}{loss}"

    def check(self) -> None:
        """Raises what an arm that failed said."""
        if self.process.poll() not in (None, 0):
            self.errors.seek(0)
            told = self.errors.read().strip()[-2000:]
            raise ValueError(f"the {self.name} arm stopped with exit code {self.process.returncode}: {told}")

    def close(self) -> None:
        """Stops the process, if it runs."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        self.errors.close()


def train_arms(out: Path, settings: DemoSettings, command: Sequence[str]) -> None:
    """Runs the arms that are not finished yet to their end.

    Raises:
        ValueError: One failed; what it printed is in the message.
    """
    arms: list[_Arm] = []
    is_terminal = sys.stderr.isatty()
    try:
        unfinished = [name for name in ARMS if RunDirectory(out / name).summary() is None]
        arms += [_Arm(name, out, settings, command) for name in unfinished]
        with tqdm(
            total=len(arms) * settings.steps,
            unit="step",
            file=sys.stderr,
            mininterval=0 if is_terminal else SECONDS_BETWEEN_LINES,
            maxinterval=SECONDS_BETWEEN_LINES,
        ) as bar:
            while any(arm.process.poll() is None for arm in arms):
                time.sleep(SECONDS_BETWEEN_LOOKS)
                _show(bar, arms)
            _show(bar, arms)
    finally:
        for arm in arms:
            arm.close()


def _show(bar: "tqdm[Any]", arms: list[_Arm]) -> None:
    for arm in arms:
        arm.check()
        arm.look()
    bar.set_postfix_str(", ".join(arm.state() for arm in arms), refresh=False)
    bar.update(sum(arm.last["batch"] for arm in arms) - bar.n)
