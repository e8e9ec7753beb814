"""Peak memory of `tst prepare` with two workers, for each kind of input.

  python benchmarks/memory.py --megabytes 300

Corpus and tokenizer are those of benchmarks/prepare.py. Memory is what all processes of the run hold
together, each shared page counted once (PSS), looked at every 50 ms. Exit 1 if a run is over --limit.
"""

import argparse
import csv
import gc
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from corpus import build_corpus
from prepare import SEQ_LEN, fetch_tokenizer

_PAUSE_S = 0.05


def main(argv: list[str] | None = None) -> int:
    """Prepares each input and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int, default=2000, help="in MB")
    parser.add_argument("--work", type=Path, default=Path("/tmp/tst-benchmark"))
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    tokenizer = fetch_tokenizer(args.work)
    corpus = build_corpus(args.work, args.megabytes)
    folder = args.work / "memory"
    folder.mkdir(exist_ok=True)
    most = 0.0
    print(f"{'input':<40} {'MB':>6} {'peak MB':>8} {'seconds':>8}  what came out")
    for name, make in INPUTS.items():
        path = make(corpus, folder)
        peak, seconds, said = run(path, folder / "out", tokenizer, args.workers)
        size = sum(one.stat().st_size for one in ([path] if path.is_file() else path.iterdir())) / 1e6
        print(f"{name:<40} {size:>6.0f} {peak:>8.0f} {seconds:>8.1f}  {said}", flush=True)
        most = max(most, peak)
    shutil.rmtree(folder)
    return int(most > args.limit)


def texts_of(corpus: Path) -> list[str]:
    """Returns the documents of a jsonl."""
    with open(corpus, "rb") as file:
        return [orjson.loads(line)["text"] for line in file]


def zst(corpus: Path, folder: Path) -> Path:
    """The corpus in one zstd stream."""
    path = folder / "corpus.jsonl.zst"
    with open(corpus, "rb") as source, open(path, "wb") as target:
        zstandard.ZstdCompressor().copy_stream(source, target)
    return path


def one_row_group(corpus: Path, folder: Path) -> Path:
    """A parquet file that is a single row group."""
    path = folder / "one-group.parquet"
    pq.write_table(pa.table({"text": texts_of(corpus)}), path, row_group_size=1 << 30)
    return path


def array(corpus: Path, folder: Path) -> Path:
    """One JSON array of all documents."""
    path = folder / "corpus.json"
    with open(corpus, "rb") as source, open(path, "wb") as target:
        for number, line in enumerate(source):
            target.write((b"," if number else b"[") + line.rstrip())
        target.write(b"]")
    return path


def table(corpus: Path, folder: Path) -> Path:
    """A csv."""
    path = folder / "corpus.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerows([["text"], *([text.replace("\0", "")] for text in texts_of(corpus))])
    return path


def files(corpus: Path, folder: Path) -> Path:
    """A directory with a file for each document."""
    path = folder / "files"
    path.mkdir(exist_ok=True)
    for number, text in enumerate(texts_of(corpus)):
        (path / f"{number:06}.txt").write_bytes(text.encode("utf-8", "replace"))
    return path


def one_document(corpus: Path, folder: Path) -> Path:
    """A jsonl of one document of 200 MB: the corpus, joined."""
    path, parts, left = folder / "one-document.jsonl", [], 200_000_000
    for text in texts_of(corpus):
        parts.append(text)
        left -= len(text)
        if left < 0:
            break
    path.write_bytes(orjson.dumps({"text": "\n".join(parts)}) + b"\n")
    return path


def one_word(corpus: Path, folder: Path) -> Path:
    """A jsonl of one document of 200 MB that has no place to cut it at."""
    path = folder / "one-word.jsonl"
    path.write_bytes(b'{"text": "' + b"QUJDzYx" * 28_600_000 + b'"}\n')
    return path


INPUTS: dict[str, Callable[[Path, Path], Path]] = {
    "jsonl": lambda corpus, _: corpus,
    "jsonl.zst, one stream": zst,
    "parquet, one row group": one_row_group,
    "json, one array": array,
    "csv": table,
    "a directory of text files": files,
    "jsonl, one document of 200 MB": one_document,
    "jsonl, one word of 200 MB": one_word,
}


def run(source: Path, out: Path, tokenizer: Path, workers: int) -> tuple[float, float, str]:
    """Returns the peak megabytes and seconds of one `tst prepare`, and its last word."""
    shutil.rmtree(out, ignore_errors=True)
    gc.collect()
    command = [str(Path(sys.executable).with_name("tst")), "prepare", str(source), "--out", str(out)]
    command += ["--tokenizer", str(tokenizer), "--seq-len", str(SEQ_LEN), "--workers", str(workers)]
    begin, peak = time.monotonic(), 0
    log = out.with_suffix(".log")
    with open(log, "wb") as output:
        process = psutil.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, _held(process))
            time.sleep(_PAUSE_S)
    seconds = time.monotonic() - begin
    said = log.read_text("utf-8", "replace").strip().splitlines()[-1].rpartition("\r")[2]
    return peak / 1e6, seconds, said if process.returncode == 0 else said[:200]


def _held(process: psutil.Process) -> int:
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_full_info().pss
    except psutil.NoSuchProcess:
        pass
    return total


if __name__ == "__main__":
    sys.exit(main())
