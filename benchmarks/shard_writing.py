"""Processor time of writing shards: past the system's memory, and through it as files commonly are.

  python benchmarks/shard_writing.py

Ten files of 64 MB each, on the disk at the end, by `committing_large` and `committing` in turn; printed are
medians of this process's seconds for all ten, in the kernel and outside, and of the clock's. Outside it is
the copy from memory to the block that is written, in both ways.
"""

import argparse
import io
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tstdata.commit import committing, committing_large
from tstdata.direct_writing import BLOCK_BYTES, read_into, write_blocks

_FILE_BYTES = 64 * BLOCK_BYTES
_NUM_FILES = 10


def main(argv: list[str] | None = None) -> int:
    """Writes the files both ways in turn and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()), help="on which disk")
    args = parser.parse_args(argv)
    data = os.urandom(_FILE_BYTES)
    ways = {"past memory": _past_memory, "through memory": _through_memory}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory(dir=args.work) as folder:
                found[name].append(_seconds(lambda way=way, folder=folder: way(Path(folder), data)))
    print(f"{_NUM_FILES} files of {_FILE_BYTES >> 20} MiB, medians of {args.rounds}")
    medians = {
        name: [statistics.median(each) for each in zip(*rows, strict=True)] for name, rows in found.items()
    }
    for name, (user, system, clock) in medians.items():
        print(f"  {name:<15} {user:>6.3f} s user {system:>6.3f} s system {clock:>6.3f} s clock")
    past, through = (sum(medians[name][:2]) for name in ways)
    print(f"processor time through memory is {through / past:.1f} times that past it")
    return 0


def _past_memory(folder: Path, data: bytes) -> None:
    for number in range(_NUM_FILES):
        with committing_large(folder / str(number)) as file:
            write_blocks(io.BytesIO(data), file, lambda _: None)


def _through_memory(folder: Path, data: bytes) -> None:
    block = memoryview(bytearray(BLOCK_BYTES))
    for number in range(_NUM_FILES):
        reader = io.BytesIO(data)
        with committing(folder / str(number)) as file:
            while num_bytes := read_into(reader, block):
                file.write(block[:num_bytes])


def _seconds(write: Callable[[], None]) -> tuple[float, float, float]:
    os.sync()
    before, begin = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    write()
    clock, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime, clock


if __name__ == "__main__":
    sys.exit(main())
