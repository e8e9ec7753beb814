"""Reading speed from warm local shards, on one core: this dataset, plain StreamingDataset and np.memmap.

  python benchmarks/reading.py --quick

Shards of random ids are written to a temporary directory. In each round every arm, in turn, reads batches
of 8 to int64 tensors for some seconds, after one batch to warm up; printed are the medians of M tokens per
second of the wall clock, and each arm's ratio to its peer. Arms:

  memmap            np.memmap, 8 random slices and astype(int64): what the machine can do
  plain / bags      StreamingDataset / StreamingBagDataset iterated, its samples stacked
  plain / bags DL   the same through StreamingDataLoader / build_bag_dataloader, with --workers processes

"row" is L = 2,048 ids, "bag" s = 6 of them; plain Streaming has no bags: its shards for "bag" hold rows of
12,288. There is no arm of litData, which is not in the lock. Busy neighbours on the machine change
all figures: compare ratios, and only of one run.
"""

import argparse
import itertools
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from streaming import MDSWriter, StreamingDataLoader, StreamingDataset

from tstdata import StreamingBagDataset, build_bag_dataloader

SEQ_LEN, BAG_SIZE, BATCH_SIZE = 2_048, 6, 8
Arm = Callable[[], Iterator[torch.Tensor]]


def main(argv: list[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of reading, each arm and round")
    parser.add_argument("--rows", type=int, default=49_152, help="stored rows of 2,048 ids")
    parser.add_argument("--workers", default="0,1", help="numbers of DataLoader worker processes")
    parser.add_argument("--quick", action="store_true", help="3 rounds of half a second")
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.seconds, args.rows = 3, 0.5, 12_288
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    workers = [int(number) for number in args.workers.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        for kind, width in (("row", SEQ_LEN), ("bag", SEQ_LEN * BAG_SIZE)):
            write_rows(Path(folder, kind), args.rows * SEQ_LEN // width, width)
        arms = all_arms(Path(folder), workers)
        speeds: dict[str, list[float]] = {name: [] for name in arms}
        for _, (name, (arm, _)) in itertools.product(range(args.rounds), arms.items()):
            speeds[name].append(measure(arm, args.seconds))
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    print("| arm | M tokens/s | lowest | highest | ratio to |\n|---|---|---|---|---|")
    for name, (_, peer) in arms.items():
        low, high = min(speeds[name]), max(speeds[name])
        ratio = f"{medians[name] / medians[peer]:.2f} x {peer}" if peer else ""
        print(f"| {name} | {medians[name]:.1f} | {low:.1f} | {high:.1f} | {ratio} |")
    return 0


def write_rows(folder: Path, rows: int, width: int) -> None:
    """Writes shards of random ids."""
    ids = np.random.default_rng(0).integers(0, 50_000, (rows, width)).astype(np.uint16)
    columns = {"tokens": f"ndarray:uint16:{width}"}
    with MDSWriter(out=str(folder), columns=columns, hashes=["xxh64"], size_limit=1 << 26) as out:
        for row in ids:
            out.write({"tokens": row})


def all_arms(folder: Path, workers: list[int]) -> dict[str, tuple[Arm, str | None]]:
    """Returns the arms by name, each with the name of its peer."""
    arms: dict[str, tuple[Arm, str | None]] = {}
    for kind, width in (("row", SEQ_LEN), ("bag", SEQ_LEN * BAG_SIZE)):
        arms[f"memmap, {kind}"] = (memmap_arm(folder / kind, width), None)
        arms[f"plain, {kind}"] = (dataset_arm(plain(folder, kind)), None)
        arms[f"bags, {kind}"] = (dataset_arm(bags(folder, kind)), f"plain, {kind}")
        for number in workers:
            name = f"DL {number} workers, {kind}"
            arms[f"plain {name}"] = (plain_loader_arm(plain(folder, kind), number), None)
            arms[f"bags {name}"] = (bag_loader_arm(folder, kind, number), f"plain {name}")
    return arms


def measure(arm: Arm, seconds: float) -> float:
    """Returns the M tokens that an arm reads in a second, after its first batch."""
    batches, tokens = arm(), 0
    next(batches)
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        tokens += next(batches).numel()
    speed = tokens / (time.perf_counter() - start) / 1e6
    del batches
    return speed


def for_ever(epoch: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """Yields epoch after epoch."""
    while True:
        yield from epoch()


def memmap_arm(folder: Path, width: int) -> Arm:
    """Random rows of the first shard, without any library."""
    path = folder / "shard.00000.mds"
    rows = int(np.fromfile(path, np.uint32, 1)[0])
    data = np.memmap(path, np.uint8, "r")[-rows * width * 2 :].view(np.uint16)

    def read() -> Iterator[torch.Tensor]:
        rng = np.random.default_rng(1)
        while True:
            starts = (rng.integers(0, rows, BATCH_SIZE) * width).tolist()
            yield torch.from_numpy(np.stack([data[at : at + width].astype(np.int64) for at in starts]))

    return read


def plain(folder: Path, kind: str) -> StreamingDataset:
    """Returns Streaming's own dataset over the same shards."""
    return StreamingDataset(local=str(folder / kind), batch_size=BATCH_SIZE, shuffle=True)


def arguments(folder: Path, kind: str) -> dict[str, Any]:
    """Returns the arguments of a StreamingBagDataset that has rows, or bag rows, alone."""
    batches = 0 if kind == "row" else 1 << 30
    return {
        "local": str(folder / "row"),
        "bag_size": BAG_SIZE,
        "superposition_batches": batches,
        "shuffle": True,
    }


def attached(dataset: StreamingBagDataset) -> StreamingBagDataset:
    """Returns it with bag rows let out, as an Algorithm would."""
    dataset.attach_superposition(
        bag_size=BAG_SIZE, superposition_batches=dataset.superposition_batches, vocab_size=None
    )
    return dataset


def bags(folder: Path, kind: str) -> StreamingBagDataset:
    """Returns this project's dataset."""
    return attached(StreamingBagDataset(**arguments(folder, kind), batch_size=BATCH_SIZE))


def dataset_arm(dataset: StreamingDataset) -> Arm:
    """A dataset iterated in this process; samples are stacked to int64."""

    def read() -> Iterator[torch.Tensor]:
        samples = for_ever(lambda: iter(dataset))
        while True:
            rows = [next(iter(sample.values())) for sample in itertools.islice(samples, BATCH_SIZE)]
            yield torch.from_numpy(np.stack(rows).astype(np.int64, copy=False))

    return read


def plain_loader_arm(dataset: StreamingDataset, workers: int) -> Arm:
    """Streaming's own loader; torch collates no uint16 arrays, so that it gets a function for it."""

    def collate(samples: list[Any]) -> torch.Tensor:
        return torch.from_numpy(np.stack([sample["tokens"] for sample in samples]).astype(np.int64))

    loader = StreamingDataLoader(
        dataset, batch_size=BATCH_SIZE, num_workers=workers, collate_fn=collate, drop_last=True
    )
    return lambda: for_ever(lambda: iter(loader))


def bag_loader_arm(folder: Path, kind: str, workers: int) -> Arm:
    """The loader of a run; its batches have labels too."""
    loader = build_bag_dataloader(arguments(folder, kind), BATCH_SIZE, num_workers=workers).dataloader
    attached(loader.dataset)
    return lambda: (batch["input_ids"] for batch in for_ever(lambda: iter(loader)))


if __name__ == "__main__":
    sys.exit(main())
