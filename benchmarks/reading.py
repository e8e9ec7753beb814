"""Reading speed from warm local shards, on one core: this dataset, plain Streaming, litData and np.memmap.

  python benchmarks/reading.py --quick

Shards of random ids are written to a temporary directory. In each round every arm, in turn, reads batches
of 8 to int64 tensors for some seconds, after one batch to warm up; printed are the medians of M tokens per
second of the wall clock, and each arm's ratio to its peers. Then, of loaders over a warm cache, the seconds
from nothing but a running process to the first batch: building, and the batch. Arms:

  memmap            np.memmap, 8 random slices and astype(int64): what the machine can do
  plain / bags      StreamingDataset / StreamingBagDataset iterated, its samples stacked
  plain / bags DL   the same through StreamingDataLoader / build_bag_dataloader, with --workers processes
  litData           litData's dataset and loader over tokens in its own format (TokensLoader)
  litData MDS       its MDS reader, over the same shards packed by zstd: the only ones that it reads

"row" is L = 2,048 ids, "bag" s = 6 of them; the others have no bags: their shards for "bag" hold rows of
12,288. Batches of "bags DL" have labels too. Busy neighbours on the machine change all figures: compare
ratios, and only of one run; `taskset -c 0` before the command holds it to one core.
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
import reading_litdata
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
    parser.add_argument("--arms", default="", help="only arms with this in their name, and their peers")
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
            write_rows(Path(folder), kind, args.rows * SEQ_LEN // width, width)
        arms = all_arms(Path(folder), workers)
        wanted = [name for name in arms if args.arms in name]
        names = [name for name in arms if name in wanted or any(name in arms[one][1] for one in wanted)]
        speeds: dict[str, list[float]] = {name: [] for name in names}
        for _, name in itertools.product(range(args.rounds), names):
            speeds[name].append(measure(arms[name][0], args.seconds))
        print_speeds({name: arms[name][1] for name in names}, speeds)
        print("\n| first batch from a warm cache | build, s | batch, s |\n|---|---|---|")
        for kind, number in itertools.product(("row", "bag"), workers):
            for name, build in (("plain", build_plain_loader), ("bags", build_bag_loader)):
                seconds = first_batch(build, Path(folder), kind, number)
                print(f"| {name} DL {number} workers, {kind} | {seconds[0]:.2f} | {seconds[1]:.2f} |")
    return 0


def print_speeds(peers: dict[str, tuple[str, ...]], speeds: dict[str, list[float]]) -> None:
    """Prints the arms' medians and how they compare with their peers'."""
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    print("| arm | M tokens/s | lowest | highest | ratio to |\n|---|---|---|---|---|")
    for name, found in speeds.items():
        ratios = "; ".join(f"{medians[name] / medians[peer]:.2f} x {peer}" for peer in peers[name])
        print(f"| {name} | {medians[name]:.1f} | {min(found):.1f} | {max(found):.1f} | {ratios} |")


def write_rows(folder: Path, kind: str, rows: int, width: int) -> None:
    """Writes the same random ids as MDS shards, raw and packed, and in litData's format."""
    # Low ids are more frequent, as in text. litData refuses shards that packing makes larger.
    ids = (50_000 * np.random.default_rng(0).random((rows, width), np.float32) ** 4).astype(np.uint16)
    columns = {"tokens": f"ndarray:uint16:{width}"}
    for name, compression in ((kind, None), (f"packed-{kind}", "zstd")):
        with MDSWriter(
            out=str(folder / name),
            columns=columns,
            hashes=["xxh64"],
            size_limit=1 << 26,
            compression=compression,
        ) as out:
            for row in ids:
                out.write({"tokens": row})
    reading_litdata.write_tokens(folder / f"litdata-{kind}", ids)


def all_arms(folder: Path, workers: list[int]) -> dict[str, tuple[Arm, tuple[str, ...]]]:
    """Returns the arms by name, each with the names of its peers."""
    arms: dict[str, tuple[Arm, tuple[str, ...]]] = {}
    for kind, width in (("row", SEQ_LEN), ("bag", SEQ_LEN * BAG_SIZE)):
        arms[f"memmap, {kind}"] = (memmap_arm(folder / kind, width), ())
        for name, arm in reading_litdata.arms(folder, kind, width, workers, BATCH_SIZE).items():
            arms[name] = (arm, ())
        arms[f"plain, {kind}"] = (dataset_arm(plain(folder, kind)), ())
        peers = (f"plain, {kind}", f"litData, {kind}", f"litData MDS, {kind}")
        arms[f"bags, {kind}"] = (dataset_arm(bags(folder, kind)), peers)
        for number in workers:
            name = f"DL {number} workers, {kind}"
            arms[f"plain {name}"] = (loader_arm(build_plain_loader(folder, kind, number)), ())
            bag_arm = loader_arm(build_bag_loader(folder, kind, number))
            arms[f"bags {name}"] = (bag_arm, (f"plain {name}", f"litData {name}"))
    return arms


def first_batch(build: Callable[..., Any], folder: Path, kind: str, workers: int) -> tuple[float, float]:
    """Returns the seconds of building a loader, and from there to its first batch."""
    start = time.perf_counter()
    loader = build(folder, kind, workers)
    built = time.perf_counter()
    next(iter(loader))
    return built - start, time.perf_counter() - built


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


def build_plain_loader(folder: Path, kind: str, workers: int) -> Any:
    """Streaming's own loader; torch collates no uint16 arrays, so that it gets a function for it."""

    def collate(samples: list[Any]) -> dict[str, torch.Tensor]:
        ids = np.stack([sample["tokens"] for sample in samples]).astype(np.int64)
        return {"input_ids": torch.from_numpy(ids)}

    return StreamingDataLoader(
        plain(folder, kind),
        batch_size=BATCH_SIZE,
        num_workers=workers,
        collate_fn=collate,
        drop_last=True,
    )


def build_bag_loader(folder: Path, kind: str, workers: int) -> Any:
    """The loader of a run."""
    loader = build_bag_dataloader(arguments(folder, kind), BATCH_SIZE, num_workers=workers).dataloader
    attached(loader.dataset)
    return loader


def loader_arm(loader: Any) -> Arm:
    """A loader's batches."""
    return lambda: (batch["input_ids"] for batch in for_ever(lambda: iter(loader)))


if __name__ == "__main__":
    sys.exit(main())
