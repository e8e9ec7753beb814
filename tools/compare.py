"""Compare finished runs fairly: at equal FLOPs, at equal loss and at equal data, with their loss curves.

Runs whose configs differ in their seeds alone are one arm. The baselines of a TST arm are the runs that
differ from it in superposition and length alone; with several lengths of them there is a step ratio at equal
loss.

    tst compare runs/baseline runs/tst --out report

Writes report.html (one file that needs nothing else), runs.csv and comparisons.csv. Prints what it found at
equal FLOPs, and the report's path.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Runs `tst compare`; returns 0 when the report is written."""
    parser = argparse.ArgumentParser(
        prog="tst compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="directory of a finished run of `tst train`")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="directory of the report")
    args = parser.parse_args(argv)

    from tstruns.compare import compare

    result = compare(args.runs, args.out)
    for sentence in result.sentences:
        print(sentence)
    print(result.report)
    return 0
