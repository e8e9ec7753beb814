"""Re-read every byte of a dataset: hashes, sizes, headers, id range, counts, and every document's end.

With --sources it also reads a sample of documents again from the original corpus and compares their ids; with
--repair it makes damaged shards again from there, to the same bytes.

  tst verify data/bags

Prints each bad file and what is wrong with it, and exits 1; exits 0 when all is as it was written.
"""

import argparse

from .numbers import at_least


def main(argv: list[str] | None = None) -> int:
    """Runs `tst verify`."""
    parser = argparse.ArgumentParser(
        prog="tst verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", metavar="DATASET", help="directory or URI of a prepared dataset")
    parser.add_argument("--workers", type=at_least(1), default=1, metavar="N", help="shards checked at once")
    parser.add_argument(
        "--sources",
        type=at_least(0),
        nargs="?",
        const=1000,
        default=0,
        metavar="N",
        help="encode N documents of the corpus again and compare (default: 1000)",
    )
    parser.add_argument("--repair", action="store_true", help="make damaged shards again from the corpus")
    args = parser.parse_args(argv)
    import tstdata

    report = tstdata.verify(
        args.dataset, progress=True, workers=args.workers, sources=args.sources, repair=args.repair
    )
    for name in report.repaired:
        print(f"{name}: made again")
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
