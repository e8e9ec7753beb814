"""Kills `tst prepare` with kill -9 at random moments, resumes it, and compares the finished trees.

  python benchmarks/kills.py --kills 30          (--s3: into a SeaweedFS started for it)

A moment is drawn over the whole length of an undisturbed run, its start and its end included; the victim is
the parent or one of its two workers. When a run comes through, its dataset is compared byte by byte with
that of the undisturbed run and the next one starts from nothing. Prints a row a kill and the sums; exit 1 if
a byte differs.
"""

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

# Small tasks and shards and the slow encoder, so that a small corpus has many moments that differ.
_RUN = """
import sys, tstdata, tstdata.tasks
tstdata.tasks._TASK_BYTES = 100_000
corpus, out, tokenizer, scratch = sys.argv[1:]
tstdata.prepare(
    corpus, out, tokenizer, 128, workers=2, size_limit=200_000, encoder="reference", work_dir=scratch
)
"""


@dataclass
class Kill:
    """One kill: who, at which second of its run, and how much finished work it left."""

    victim: str
    moment: float
    kept: int


@dataclass
class Table:
    """What happened: the kills, and for each run that came through whether its bytes are right."""

    kills: list[Kill] = field(default_factory=list)
    equal: list[bool] = field(default_factory=list)

    def text(self) -> str:
        """Returns the table."""
        lines = [f"{'kill':>4}  {'victim':<8} {'second':>7}  finished tasks (and, in a store, files) kept"]
        for number, kill in enumerate(self.kills, 1):
            lines.append(f"{number:>4}  {kill.victim:<8} {kill.moment:>7.2f}  {kill.kept}")
        resumed = sum(kill.kept > 0 for kill in self.kills)
        parents = sum(kill.victim == "parent" for kill in self.kills)
        return "\n".join(
            [
                *lines,
                "",
                f"kills                  {len(self.kills)} ({parents} of parents)",
                f"resumed with work      {resumed}",
                f"finished datasets      {len(self.equal)}",
                f"bytes equal            {sum(self.equal)} of {len(self.equal)}",
            ]
        )


def main(argv: list[str] | None = None) -> int:
    """Runs the kills and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--s3", action="store_true")
    args = parser.parse_args(argv)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        out: Directory | Bucket = Directory(folder / "out")
        if args.s3:
            out = Bucket(stack.enter_context(_seaweedfs(folder / "server")), folder / "scratch")
        table = kill_often(folder, out, args.kills, random.Random(args.seed))
    print(f"output: {out.kind}\n{table.text()}")
    return 0 if all(table.equal) and table.equal else 1


@dataclass
class Directory:
    """Output on the local disk."""

    path: Path
    kind = "a local directory"
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """What `tst prepare --out` gets."""
        return str(self.path)

    def is_begun(self) -> bool:
        """Whether anything of a preparation is left."""
        return self.path.exists()

    def kept_tasks(self) -> int:
        """How many finished tasks a killed run left."""
        return len(list(self.path.glob(".prepare/task-*.done")))

    def tree(self) -> dict[str, bytes]:
        """All files by name."""
        return tree(self.path)

    def clear(self) -> None:
        """Makes room for another dataset."""
        shutil.rmtree(self.path)


@dataclass
class Bucket:
    """Output in an S3 server, by way of a scratch directory."""

    store: Any
    scratch: Path
    kind = "s3:// (SeaweedFS)"

    @property
    def address(self) -> str:
        """What `tst prepare --out` gets."""
        return str(self.store.uri("out"))

    @property
    def environment(self) -> Mapping[str, str]:
        """Where the server is, and its credentials."""
        return dict(self.store.environment)

    def is_begun(self) -> bool:
        """Whether anything of a preparation is left, here or there."""
        return bool(self.store.keys("out")) or any(self.scratch.glob("*"))

    def kept_tasks(self) -> int:
        """How many finished tasks, or files in the store, a killed run left."""
        return len(list(self.scratch.glob("*/.prepare/task-*.done"))) + len(self.store.keys("out/"))

    def tree(self) -> dict[str, bytes]:
        """All objects by name."""
        return dict(self.store.tree("out"))

    def clear(self) -> None:
        """Makes room for another dataset."""
        for key in self.store.keys("out"):
            self.store.client.delete_object(Bucket=self.store.bucket, Key=key)


def _seaweedfs(folder: Path) -> contextlib.AbstractContextManager[Any]:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from object_stores import seaweedfs

    folder.mkdir()
    return seaweedfs(folder)


def kill_often(folder: Path, out: Directory | Bucket, kills: int, draw: random.Random) -> Table:
    """Kills runs into `out` until there were so many kills and the last run came through.

    What they are compared with is a run into a local directory that nobody disturbs.
    """
    tokenizer, corpus = make_inputs(folder)
    whole = Directory(folder / "whole")
    _end(_start(corpus, whole, tokenizer, folder))
    begin = time.monotonic()
    _end(_start(corpus, out, tokenizer, folder))
    length, wanted, table = time.monotonic() - begin, whole.tree(), Table()
    table.equal.append(out.tree() == wanted)
    out.clear()
    # Until the last killed run was finished, too.
    while len(table.kills) < kills or out.is_begun():
        process = _start(corpus, out, tokenizer, folder)
        if len(table.kills) < kills and (kill := _kill(process, out, draw, length)) is not None:
            table.kills.append(kill)
            continue
        _end(process)
        table.equal.append(out.tree() == wanted)
        out.clear()
    return table


def _start(corpus: Path, out: Directory | Bucket, tokenizer: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "ignore", "-c", _RUN, str(corpus), out.address, str(tokenizer)]
    command.append(str(folder / "scratch"))
    return subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, **out.environment})


def _end(process: subprocess.Popen[bytes]) -> None:
    """Waits for a run that nobody disturbs any more."""
    assert process.stderr is not None
    said = b"" if process.stderr.closed else process.communicate()[1]
    assert process.returncode == 0, said.decode()[-2000:]


def _kill(
    process: subprocess.Popen[bytes], out: Directory | Bucket, draw: random.Random, length: float
) -> Kill | None:
    """Kills one process of a run at a random moment; returns None if it had ended by then."""
    begin, moment = time.monotonic(), draw.uniform(0, length)
    while process.poll() is None and time.monotonic() - begin < moment:
        time.sleep(0.005)
    try:
        parent = psutil.Process(process.pid)
        firsts = [one for one in parent.children() if "tstdata.worker" in one.cmdline()]
        workers = [worker for one in firsts for worker in one.children() or [one]]
        victim = draw.choice([parent, *workers])
        victim.kill()
    except psutil.NoSuchProcess:
        return None
    process.communicate()
    failed = process.returncode != 0
    if not failed:  # A worker that had nothing more to do: nobody misses it.
        return None
    return Kill("parent" if victim is parent else "worker", moment, out.kept_tasks())


def tree(folder: Path) -> dict[str, bytes]:
    """Returns all files of a dataset."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def make_inputs(folder: Path) -> tuple[Path, Path]:
    """Makes a tokenizer and a corpus out of the Python installation's own text."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(path) for path in files[:40]], trainer)
    (folder / "tokenizer").mkdir()
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    config = {"eos_token": "<|endoftext|>"}
    (folder / "tokenizer" / "tokenizer_config.json").write_bytes(orjson.dumps(config))
    corpus = folder / "corpus"
    corpus.mkdir()
    texts = [path.read_text("utf-8") for path in files[:120]]
    lines = [orjson.dumps({"text": text}) + b"\n" for text in texts]
    (corpus / "large.jsonl").write_bytes(b"".join(lines))
    for number, text in enumerate(texts[:40]):
        (corpus / f"{number:02}.py").write_bytes(text.encode())
    return folder / "tokenizer", corpus


if __name__ == "__main__":
    sys.exit(main())
