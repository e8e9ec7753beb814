"""Prints the table of faults: what store or disk do, what comes of it on two ranks, in how many seconds.

  python benchmarks/faults.py

SeaweedFS behind a proxy that spoils its answers, and two gloo ranks that read in step; the scenarios of
tests/test_store_faults.py. The last column is a second run on the same cache, when the fault is over. Exit 1
if a row of any run is not the undisturbed run's, or a rank says nothing of a fault that ends it.
"""

import argparse
import contextlib
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import faulty_store
from fault_scenarios import SCENARIOS, Outcome, Scenario, Site
from object_stores import seaweedfs
from reading_ranks import Reading


def main(argv: list[str] | None = None) -> int:
    """Runs the scenarios and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=0, help="DataLoader workers of each rank")
    args = parser.parse_args(argv)
    right = True
    print("| fault | what happened | seconds | batches read before, all right | second run |")
    print("|---|---|---|---|---|")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "server").mkdir()
        store = stack.enter_context(seaweedfs(folder / "server"))
        site = Site(folder, store, stack.enter_context(faulty_store.before(store.endpoint)))
        whole = site.undisturbed()
        for scenario in SCENARIOS:
            outcome = site.run(scenario, num_workers=args.workers)
            ok = _is_right(scenario, outcome, whole)
            right &= ok
            print(_row(scenario, outcome, whole) + ("" if ok else " WRONG"), flush=True)
    return 0 if right else 1


def _is_right(scenario: Scenario, outcome: Outcome, whole: list[Reading]) -> bool:
    """Whether no wrong row was read, the second run read all, and each rank said what ended it."""
    pairs = list(zip(outcome.first, outcome.second, whole, strict=True))
    return all(
        first.batches == all_of_it.batches[: len(first.batches)]
        and second.batches == all_of_it.batches
        and (first.error is None) == scenario.heals
        and (scenario.heals or scenario.says in f"{first.error}{first.logged}")
        for first, second, all_of_it in pairs
    )


def _row(scenario: Scenario, outcome: Outcome, whole: list[Reading]) -> str:
    number = sum(len(reading.batches) for reading in outcome.first)
    total = sum(len(reading.batches) for reading in whole)
    if scenario.heals:
        happened = "healed: " + (
            _sentence(scenario.says, outcome) if scenario.says else "by the SDK, quietly"
        )
    else:
        happened = "error on every rank: " + _sentence(scenario.says, outcome)
    second = "right" if all(reading.error is None for reading in outcome.second) else "failed"
    cells = (scenario.name, happened, f"{outcome.seconds:.1f}", f"{number} of {total}", second)
    return f"| {' | '.join(cells)} |"


def _sentence(said: str, outcome: Outcome) -> str:
    """What a rank said, without the paths of this machine."""
    for reading in outcome.first:
        for line in f"{reading.logged}\n{reading.error}".splitlines():
            if said not in line:
                continue
            line = re.sub(r"(?<![:/\w])/\S*/(?=\S)| into /\S+", "", line.replace("|", "/"))
            cause = re.search(r"(\S+ of \S+ could not be fetched) (\(.*\))\. (.*?) Then start", line)
            if cause is None:
                return _shortened(line)
            return f"{cause[1]} {_shortened(cause[2])}. {cause[3]}"
    return "nothing was said"


def _shortened(text: str, length: int = 120) -> str:
    return text if len(text) <= length else f"{text[:length]}..."


if __name__ == "__main__":
    sys.exit(main())
