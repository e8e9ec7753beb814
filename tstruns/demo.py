"""`tst demo`: text, tokenizer, bag shards, two runs side by side and a report; each step is done once."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .demo_arms import train_arms
from .demo_report import report
from .demo_settings import DemoSettings
from .demo_text import collect_text, train_tokenizer


def run_demo(out: Path, settings: DemoSettings, train_command: Sequence[str]) -> Path:
    """Runs what is not done yet of the demo in a directory; returns the path of results.json.

    Args:
        out: Made if needed; a second call goes on where the first was interrupted.
        settings: Sizes of model, data and schedule.
        train_command: What starts `tst train`; each arm is run by it, followed by the path of the arm's YAML.

    Raises:
        ValueError: `out` is something else's or another demo's, or an arm failed.
    """
    started = time.monotonic()
    _claim(out, settings)
    _say("1/4 reading the source text of this Python installation")
    text = collect_text(settings.train_bytes, settings.heldout_bytes)
    _say(f"2/4 training a tokenizer of {settings.vocab_size} ids")
    train_tokenizer(text.train, out / "tokenizer", settings.vocab_size)
    _say("3/4 preparing bag shards")
    import tstdata

    for part, files in (("train", text.train), ("heldout", text.heldout)):
        tstdata.prepare(files, out / part, out / "tokenizer", settings.seq_len, workers=2, progress=True)
    _say(f"4/4 training the baseline and TST side by side, {settings.steps} steps each")
    train_arms(out, settings, train_command)
    return report(out, settings, time.monotonic() - started)


def _claim(out: Path, settings: DemoSettings) -> None:
    """Makes the directory this demo's, or checks that it is."""
    marker = out / "demo.json"
    if marker.is_file():
        before = json.loads(marker.read_text())
        if before != settings.as_dict():
            raise ValueError(
                f"{out} holds a demo with other settings ({before}); delete it, or give another --out"
            )
        return
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty and holds no demo; delete it, or give another --out")
    out.mkdir(parents=True, exist_ok=True)
    marker.write_text(json.dumps(settings.as_dict(), indent=2))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
