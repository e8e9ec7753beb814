"""Re-read every byte of a dataset: hashes, sizes, headers, id range, counts, and every document's end.

  tst verify data/bags

Prints each bad file and what is wrong with it, and exits 1; exits 0 when all is as it was written.
"""

import argparse


def main(argv: list[str] | None = None) -> int:
    """Runs `tst verify`."""
    parser = argparse.ArgumentParser(
        prog="tst verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", metavar="DATASET", help="directory of a prepared dataset")
    args = parser.parse_args(argv)
    import tstdata

    report = tstdata.verify(args.dataset, progress=True)
    for problem in report.problems:
        print(f"{problem.file}: {problem.what}")
    if not report.ok:
        bad = len({problem.file for problem in report.problems})
        print(f"{args.dataset}: NOT intact, {len(report.problems)} problems in {bad} files")
        return 1
    card = report.card
    assert card is not None
    print(
        f"{args.dataset}: intact, {card.num_shards:,} shards, {card.num_rows:,} rows, {card.num_tokens:,} "
        f"tokens, {card.num_documents:,} documents"
    )
    return 0
