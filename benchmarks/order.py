"""Start time and memory of the sample order, against plain StreamingDataset's, over an index without data.

  python benchmarks/order.py --rows 1000000,10000000

For each number of rows an index.json of shards of 16,384 rows is written, and each arm gets a fresh process,
which builds the dataset and then asks for the sample ids of one worker's first batch: of an epoch's start, or
of where a checkpoint in its middle left it. Printed are the seconds of building and of the order, the
processor's seconds in both (which other work on the machine sways less), and by how much the process's peak
memory (VmHWM, so Linux only) grew. Streaming works the epoch out on one process a node and shares it; here
each worker does, for itself.

The run: 2 canonical nodes, one node of 8 ranks of 2 workers, 8 rows a rank and batch. "bags": the first 30%
of batches are of bag rows of 4, which take 12/19 of the rows; the epoch's middle is then after the switch.
"repeat 1.5": the rows are a stream that an epoch draws one and a half times.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS_PER_SHARD, SEQ_LEN = 16_384, 2_048
RANKS, WORKERS, BATCH_SIZE, NODES = 8, 2, 8, 2
ARMS = (
    "StreamingDataset py1e",
    "StreamingBagDataset py1e",
    "StreamingBagDataset py1e, bags",
    "StreamingBagDataset py1e, bags, repeat 1.5",
    "StreamingBagDataset py1br, bags",
    "StreamingBagDataset naive, bags",
)


def main(argv: list[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="1000000,10000000,100000000", help="numbers of rows")
    parser.add_argument("--arms", default="", help="only arms with this in their name")
    parser.add_argument("--measure", nargs=3, metavar=("INDEX", "ARM", "SHARE"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        print(json.dumps(measure(args.measure[0], args.measure[1], float(args.measure[2]))))
        return 0
    print(
        "| rows | arm | at | build, s | order, s | processor, s | memory, MB |\n|---|---|---|---|---|---|---|"
    )
    for rows in map(int, args.rows.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            write_index(Path(folder), rows)
            for arm in (arm for arm in ARMS if args.arms in arm):
                for at, share in (("start", 0.0), ("middle", 0.5)):
                    command = [sys.executable, __file__, "--measure", folder, arm, str(share)]
                    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                    build, order, cpu, memory = json.loads(out.splitlines()[-1])
                    seconds = f"{build:.2f} | {order:.2f} | {cpu:.2f}"
                    print(f"| {rows:,} | {arm} | {at} | {seconds} | {memory:,.0f} |", flush=True)
    return 0


def write_index(folder: Path, rows: int) -> None:
    """Writes the index.json of a dataset of so many rows, and no shards."""
    shards = []
    for number, first in enumerate(range(0, rows, ROWS_PER_SHARD)):
        samples = min(ROWS_PER_SHARD, rows - first)
        raw = {"basename": f"shard.{number:05}.mds", "bytes": samples * SEQ_LEN * 2, "hashes": {"xxh64": "0"}}
        shards.append(
            {
                "column_encodings": [f"ndarray:uint16:{SEQ_LEN}"],
                "column_names": ["tokens"],
                "column_sizes": [SEQ_LEN * 2],
                "compression": None,
                "format": "mds",
                "hashes": ["xxh64"],
                "raw_data": raw,
                "samples": samples,
                "size_limit": 1 << 26,
                "version": 2,
                "zip_data": None,
            }
        )
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": shards}))


def measure(folder: str, arm: str, share: float) -> tuple[float, ...]:
    """Returns the seconds of building, of the order, the processor's in both, and the memory in MB."""
    from streaming import StreamingDataset
    from streaming.base.batching import generate_work
    from streaming.base.world import World

    from tstdata import StreamingBagDataset
    from tstdata.worker_ids import Seat, WorkerIds

    algo = arm.split()[1].strip(",")
    shuffle = {"shuffle": True, "shuffle_algo": algo, "num_canonical_nodes": NODES}
    # One process stands for all ranks: their global batch is its batch.
    before, start, cpu = peak_memory(), time.perf_counter(), time.process_time()
    if arm.startswith("StreamingDataset"):
        dataset = StreamingDataset(local=folder, batch_size=BATCH_SIZE, **shuffle)
        built = time.perf_counter()
        world = World(num_nodes=1, ranks_per_node=RANKS, workers_per_rank=WORKERS, worker=0)
        dataset._resume(world, 0)
        done = int(dataset.size * share)
        ids = generate_work(dataset.batching_method, dataset, world, 0, done)[0, 0, 0].ravel()
    else:
        size = RANKS * BATCH_SIZE
        superposed = sum(json_samples(folder)) // size * 3 // 19 if "bags" in arm else 0
        data = {"streams": [{"local": folder, "repeat": 1.5}]} if "repeat" in arm else {"local": folder}
        dataset = StreamingBagDataset(
            **data, batch_size=size, bag_size=4, superposition_batches=superposed, **shuffle
        )
        built = time.perf_counter()
        done = int(dataset.plan.epoch(0).num_batches * share)
        ids = WorkerIds(dataset.epoch_order(0), done, Seat(0, 1, 0, RANKS, 0, WORKERS))
    assert len({int(ids[i]) for i in range(BATCH_SIZE)}) == BATCH_SIZE
    end, cpu = time.perf_counter(), time.process_time() - cpu
    return built - start, end - built, cpu, (peak_memory() - before) / 1e6


def json_samples(folder: str) -> list[int]:
    """Returns the rows of each shard."""
    return [shard["samples"] for shard in json.loads(Path(folder, "index.json").read_text())["shards"]]


def peak_memory() -> int:
    """Returns the bytes of memory that this process held at most."""
    status = Path(f"/proc/{os.getpid()}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    sys.exit(main())
