"""Processor time of writing shards: past the system's memory, and through it as files commonly are.

  python benchmarks/shard_writing.py

Ten files of 64 MiB each, on the disk at the end, by `committing_large` and `committing` in turn; printed are
medians of the processor's seconds for all ten. In both ways one copy is part of it, from memory to the block
that is written.
"""

import argparse
import functools
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from prepare import medians

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
    found = medians(
        {name: functools.partial(_seconds, way, args.work, data) for name, way in ways.items()}, args.rounds
    )
    print(f"{_NUM_FILES} files of {_FILE_BYTES >> 20} MiB, medians of {args.rounds}, processor time")
    for name, seconds in found.items():
        print(f"  {name:<15} {seconds:>6.3f} s")
    print(f"through memory takes {found['through memory'] / found['past memory']:.1f} times as long")
    return 0


def _seconds(write: Callable[[Path, bytes], None], work: Path, data: bytes) -> float:
    with tempfile.TemporaryDirectory(dir=work) as folder:
        begin = time.process_time()
        write(Path(folder), data)
        return time.process_time() - begin


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


if __name__ == "__main__":
    sys.exit(main())
