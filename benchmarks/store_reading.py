"""Reading bag shards from an S3 server on this machine, beside what server and client library can deliver.

  python benchmarks/store_reading.py

Arms in turn, round after round, each in a fresh process with an empty cache: boto3's `download_file` of all
shards one after the other, as Streaming's downloader calls it; the same with as many at once as there are
cores; `StreamingBagDataset` iterated over all rows, in order and shuffled, and in bag rows; the DataLoader
with one worker. The rows in order are read once more from the then warm cache: faster than that nothing can
be, however fast the server. Rates are megabytes of shards a second; the server is SeaweedFS, whose own
processor time is not taken off.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
from object_stores import seaweedfs

import tstdata

SEQ_LEN, END = 2048, 0
_DOWNLOAD = """
import os, sys, time
from concurrent.futures import ThreadPoolExecutor
import boto3
uri, folder, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
bucket, _, prefix = uri.removeprefix("s3://").partition("/")
client = boto3.client("s3", endpoint_url=os.environ["S3_ENDPOINT_URL"])
keys = [one["Key"] for one in client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]]
keys = [key for key in keys if key.endswith(".mds")]
os.makedirs(folder)
begin = time.perf_counter()
with ThreadPoolExecutor(threads) as pool:
    list(pool.map(lambda key: client.download_file(bucket, key, folder + "/" + key.rpartition("/")[2]), keys))
print(time.perf_counter() - begin)
"""
_READ = """
import sys, time, torch
torch.set_num_threads(1)
from tstdata import StreamingBagDataset, build_bag_dataloader
uri, folder, how = sys.argv[1:]
bag = 4 if how == "bag rows" else 1
given = dict(remote=uri, local=folder, bag_size=bag, superposition_batches=10**9 if bag > 1 else 0,
    shuffle=how == "shuffled", num_canonical_nodes=1)
if how == "worker":
    loader = build_bag_dataloader(given, 8, num_workers=1).dataloader
    dataset = loader.dataset
else:
    loader = dataset = StreamingBagDataset(**given, batch_size=8)
    if bag > 1:
        dataset.attach_superposition(bag_size=bag, superposition_batches=10**9, vocab_size=None)
begin = time.perf_counter()
for _ in loader:
    pass
print(time.perf_counter() - begin)
dataset.close()
"""
ARMS = {
    "boto3, one file at a time": (_DOWNLOAD, "1"),
    "boto3, a file a core": (_DOWNLOAD, str(os.cpu_count())),
    "StreamingBagDataset, rows in order": (_READ, "in order"),
    "the same once more, from the warm cache": (_READ, "in order"),
    "StreamingBagDataset, rows shuffled": (_READ, "shuffled"),
    "StreamingBagDataset, bag rows, s = 4": (_READ, "bag rows"),
    "DataLoader, one worker, rows in order": (_READ, "worker"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs the arms and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=640, help="of shards")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = make_dataset(folder, args.megabytes)
        size = sum(path.stat().st_size for path in dataset.glob("shard.*")) / 1e6
        (folder / "server").mkdir()
        with seaweedfs(folder / "server") as store:
            os.environ.update(store.environment)
            store.upload(dataset, "bags")
            seconds: dict[str, list[float]] = {name: [] for name in ARMS}
            for _ in range(args.rounds):
                for arm, (code, how) in ARMS.items():
                    if "warm" not in arm:
                        shutil.rmtree(folder / "cache", ignore_errors=True)
                    seconds[arm].append(run(code, store.uri("bags"), folder / "cache", how))
    print(f"{size:.0f} MB of shards of 64 MiB, medians of {args.rounds}")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    first = next(iter(medians.values()))
    for arm, median in medians.items():
        print(f"  {arm:<40} {size / median:>7.0f} MB/s  {first / median:>5.2f} of the first")
    return 0


def run(code: str, uri: str, cache: Path, how: str) -> float:
    """Returns the seconds that an arm reports."""
    command = [sys.executable, "-W", "ignore", "-c", code, uri, str(cache), how]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return float(done.stdout.split()[-1])


def make_dataset(folder: Path, megabytes: int) -> Path:
    """Makes bag shards of random ids in documents of 1,000, as uint16."""
    ids = np.random.default_rng(0).integers(1, 50_000, megabytes * 500_000, np.uint16)
    ids[::1000] = END
    ids.tofile(folder / "ids.bin")
    options = {"adopt": "flat", "adopt_dtype": "uint16", "eos_id": END, "vocab_size": 50_000}
    tstdata.prepare(folder / "ids.bin", folder / "bags", None, SEQ_LEN, **options)
    (folder / "ids.bin").unlink()
    return folder / "bags"


if __name__ == "__main__":
    sys.exit(main())
