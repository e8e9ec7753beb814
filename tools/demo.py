"""Prepare, train a baseline and a TST run at equal FLOPs, and compare: the whole product in minutes.

Needs no download: the text is the source of this machine's own Python installation. Both arms are the same
tiny Llama for the same steps, trained by `tst train` side by side; the end is a table, a picture of both loss
curves and results.json, whose path is the last line printed.

    tst demo --out demo-output

Interrupted, the same command goes on; finished, it shows the result again.
"""

import argparse
import signal
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Runs `tst demo`; returns 0 when both arms were trained and compared."""
    parser = argparse.ArgumentParser(
        prog="tst demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="demo-output", help="directory of all that it makes (%(default)s)")
    args = parser.parse_args(argv)

    # Stopped politely, it stops its two runs too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    from tstruns.demo import run_demo
    from tstruns.demo_settings import DemoSettings

    run_demo(Path(args.out), DemoSettings(), [sys.executable, "-m", __package__, "train"])
    return 0
