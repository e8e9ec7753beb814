"""What preparing and streaming a corpus of 1 T tokens takes, scaled up from a run measured here.

  python benchmarks/sizing.py --megabytes 300

Measured: `tst prepare` of the benchmark corpus on one core, start-up taken off; its shards written again by
one of the threads that do so, all in the process that leads a preparation; the corpus straight into an S3
server (moto), whose log tells every request; the rows streamed from it once. All that is scaled is a rate, or
a count for each shard; nothing of a network is in it. `--rate` takes the place of the measured megabytes a
second of one core, for a machine that was measured elsewhere.
"""

import argparse
import collections
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from corpus import build_corpus
from object_stores import moto
from prepare import SEQ_LEN, fetch_tokenizer, medians, pinned, text_megabytes, timed

from tstdata.shards import ShardLayout, write_shard_bytes

_READ = """
import sys
from tstdata import StreamingBagDataset
dataset = StreamingBagDataset(
    remote=sys.argv[1], local=sys.argv[2], bag_size=1, superposition_batches=0, batch_size=8
)
print(sum(1 for _ in dataset))
dataset.close()
"""


class Measured(NamedTuple):
    """What the run here gave; bytes are of the whole dataset."""

    rate: float
    written: float
    text: float
    tokens: int
    shards: int
    shard_bytes: int
    documents: int
    document_bytes: int
    put: "collections.Counter[str]"
    got: "collections.Counter[str]"


def main(argv: list[str] | None = None) -> int:
    """Measures and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--tokens", type=float, default=1e12, help="size of the corpus to scale to")
    parser.add_argument(
        "--rate", type=float, help="MB of text a second and core, instead of the measured one"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("/tmp/tst-benchmark"))
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    found = measure(
        build_corpus(args.work, args.megabytes), fetch_tokenizer(args.work), args.work, args.rounds
    )
    print(f"measured on {found.text:.0f} MB of text, {found.tokens:,} tokens, L = {SEQ_LEN}, one core:")
    print(f"  {found.rate:.1f} MB of text a second without start-up")
    print(f"  {found.written:.0f} MB of shards a second by one writing thread, to this disk")
    print(f"  {found.text * 1e6 / found.tokens:.2f} bytes of text a token")
    for what, requests in (("to upload", found.put), ("to stream once", found.got)):
        listed = ", ".join(f"{number} {kind}" for kind, number in sorted(requests.items()))
        print(f"  requests {what} {found.shards} shards: {listed}")
    print_scaled(found, args.tokens, args.rate or found.rate)
    return 0


def measure(corpus: Path, tokenizer: Path, work: Path, rounds: int) -> Measured:
    """Runs the commands and counts."""
    folder = work / "sizing"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    single = folder / "one-document.jsonl"
    single.write_bytes(corpus.read_bytes().partition(b"\n")[0] + b"\n")
    arms = {
        "start-up": lambda: _again(single, folder / "single", tokenizer, 8),
        "all": lambda: _again(corpus, folder / "out", tokenizer, SEQ_LEN),
    }
    found = medians(arms, rounds)
    seconds = found["all"] - found["start-up"]
    card = json.loads((folder / "out" / "dataset.json").read_bytes())
    (folder / "server").mkdir()
    with moto(folder / "server") as store:
        os.environ.update(store.environment)
        uri = store.uri("corpus")
        put = _requests(folder, _prepare(corpus, uri, tokenizer))
        got = _requests(folder, [sys.executable, "-c", _READ, uri, str(folder / "cache")])
    text, shards = text_megabytes(corpus), sorted((folder / "out").glob("shard.*"))
    layout = ShardLayout(SEQ_LEN, card["dtype"])
    written = _write_again(folder / "again", shards, layout)
    documents = sum(path.stat().st_size for path in (folder / "out" / "documents").iterdir())
    shard_bytes = sum(path.stat().st_size for path in shards)
    counts: dict[str, Any] = {"tokens": card["num_tokens"], "shards": card["num_shards"]}
    shutil.rmtree(folder)
    return Measured(
        text / seconds,
        written,
        text,
        **counts,
        shard_bytes=shard_bytes,
        documents=card["num_documents"],
        document_bytes=documents,
        put=put,
        got=got,
    )


def _write_again(folder: Path, shards: list[Path], layout: ShardLayout) -> float:
    """Returns the megabytes a second of one of the threads that write shards, their hashing included."""
    folder.mkdir()
    done, seconds = 0, 0.0
    for number, path in enumerate(shards):
        data = memoryview(path.read_bytes())
        rows = data[int.from_bytes(data[4:8], "little") :]
        begin = time.perf_counter()
        write_shard_bytes(folder, number, io.BytesIO(rows), len(rows) // layout.row_bytes, layout)
        seconds += time.perf_counter() - begin
        done += len(data)
    return done / 1e6 / seconds


def _again(corpus: Path, out: Path, tokenizer: Path, seq_len: int) -> float:
    shutil.rmtree(out, ignore_errors=True)
    return timed(_prepare(corpus, out, tokenizer, seq_len), False)


def _prepare(corpus: Path, out: Path | str, tokenizer: Path, seq_len: int = SEQ_LEN) -> list[str]:
    tst = [str(Path(sys.executable).with_name("tst")), "prepare", str(corpus), "--out", str(out)]
    return pinned([*tst, "--tokenizer", str(tokenizer), "--seq-len", str(seq_len)], 1)


def _requests(folder: Path, command: list[str]) -> "collections.Counter[str]":
    """Returns how many requests of each kind a command made, parts of a file counted by themselves."""
    log = folder / "server" / "moto.log"
    begin = log.stat().st_size
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    said = log.read_bytes()[begin:].decode("utf-8", "replace")
    return collections.Counter(re.findall(r'"(?:\x1b\[[0-9;]*m)*([A-Z]+) /', said))


def print_scaled(found: Measured, tokens: float, rate: float) -> None:
    """Prints the tables for a corpus of so many tokens."""
    times = tokens / found.tokens
    text = found.text * times
    hours = text / rate / 3600
    print(f"\n{tokens:.3g} tokens of this kind: {found.documents * times:.2g} documents")
    writing = found.shard_bytes * times / 1e6 / found.written / 3600
    rows: list[tuple[str, float, int]] = [
        ("TB of text", text / 1e6, 2),
        (f"core-hours to prepare, {rate:.1f} MB/s a core", hours, 0),
        ("hours of one writing thread, of which there are up to 4", writing, 1),
        *((f"hours on {cores} cores", max(hours / cores, writing / 4), 1) for cores in (16, 64, 256)),
        ("shards", found.shards * times, 0),
        (
            f"TB of shards, {found.shard_bytes / found.tokens:.2f} bytes a token",
            found.shard_bytes * times / 1e12,
            2,
        ),
        ("TB of documents/*.parquet", found.document_bytes * times / 1e12, 3),
    ]
    for what, requests in (("uploading", found.put), ("streaming once", found.got)):
        rows += ((f"{kind} requests, {what}", count * times, 0) for kind, count in sorted(requests.items()))
    for name, value, digits in rows:
        print(f"  {name:<56} {value:>12,.{digits}f}")


if __name__ == "__main__":
    sys.exit(main())
