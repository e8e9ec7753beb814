"""Reading bag shards from an S3 server on this machine, beside what server and client library can deliver.

  python benchmarks/store_reading.py

Arms in turn, round after round, each in a fresh process with an empty cache. What can be delivered, the same
bytes to files of the same disk and nothing done with them: by Streaming's own S3 downloader, which reads a
shard's parts one after the other, one shard at a time and two; and by boto3's `download_file` as it is by
default, with ten threads. What is read: `StreamingBagDataset` iterated over all rows, in order and shuffled,
and in bag rows, every sample as int64; the DataLoader with one worker, batches of 8 rows with labels, int64
too, which are eight times the shards' bytes. Hashes are compared. The rows in order, and the DataLoader's,
are read once more from the then warm cache: faster than that nothing can be, however fast the server.

Rates are megabytes of shards a second, from the first row asked for to the last; the server is SeaweedFS,
whose processor time ("server, s") is taken from the same cores. Each figure is a median, `of ...` its ratio
to that of the first arm.
"""

import argparse
import os
import shutil
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
from streaming.base.storage.download import S3Downloader
uri, folder, how = sys.argv[1:]
bucket, _, prefix = uri.removeprefix("s3://").partition("/")
client = boto3.client("s3", endpoint_url=os.environ["S3_ENDPOINT_URL"])
keys = [one["Key"] for one in client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]]
keys = [key for key in keys if key.endswith(".mds")]
os.makedirs(folder)
def by_boto3(key):
    client.download_file(bucket, key, folder + "/" + key.rpartition("/")[2])
def by_streaming(key):
    downloader.download(f"s3://{bucket}/{key}", folder + "/" + key.rpartition("/")[2])
downloader, get = S3Downloader(), by_boto3 if how == "boto3" else by_streaming
begin = time.perf_counter()
with ThreadPoolExecutor(2 if how == "two" else 1) as pool:
    list(pool.map(get, keys))
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
    "Streaming's downloader, a shard at a time": (_DOWNLOAD, "one"),
    "Streaming's downloader, two at a time": (_DOWNLOAD, "two"),
    "boto3 by default, a file at a time": (_DOWNLOAD, "boto3"),
    "StreamingBagDataset, rows in order": (_READ, "in order"),
    "the same from the warm cache": (_READ, "in order"),
    "StreamingBagDataset, rows shuffled": (_READ, "shuffled"),
    "StreamingBagDataset, bag rows, s = 4": (_READ, "bag rows"),
    "DataLoader, one worker, rows in order": (_READ, "worker"),
    "that from the warm cache": (_READ, "worker"),
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
            seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ARMS}
            for _ in range(args.rounds):
                for arm, (code, how) in ARMS.items():
                    if "warm" not in arm:
                        shutil.rmtree(folder / "cache", ignore_errors=True)
                    before = processor_seconds(store.pid)
                    taken = run(code, store.uri("bags"), folder / "cache", how)
                    seconds[arm].append((taken, processor_seconds(store.pid) - before))
    print(f"{size:.0f} MB of shards of 64 MiB, medians of {args.rounds}, {os.cpu_count()} cores")
    medians = {name: np.median(values, axis=0).tolist() for name, values in seconds.items()}
    first, _ = next(iter(medians.values()))
    print("| arm | MB/s | lowest | highest | of the first | server, s |\n|---|---|---|---|---|---|")
    for arm, (median, of_server) in medians.items():
        rates = [size / taken for taken, _ in seconds[arm]]
        print(
            f"| {arm} | {size / median:.0f} | {min(rates):.0f} | {max(rates):.0f} | {first / median:.2f} "
            f"| {of_server:.2f} |"
        )
    return 0


def processor_seconds(process: int) -> float:
    """Returns the processor time that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
