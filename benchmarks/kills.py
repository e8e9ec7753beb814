"""Kills `tst prepare` with kill -9 at random moments, resumes it, and compares the finished trees.

  python benchmarks/kills.py --kills 30

A moment is drawn over the whole length of an undisturbed run, its start and its end included; the victim is
the parent or one of its two workers. When a run comes through, its dataset is compared byte by byte with
that of the undisturbed run and the next one starts from nothing. Prints a row a kill and the sums; exit 1 if
a byte differs.
"""

import argparse
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

# Small tasks and shards and the slow encoder, so that a small corpus has many moments that differ.
_RUN = """
import sys, tstdata, tstdata.tasks
tstdata.tasks._TASK_BYTES = 100_000
corpus, out, tokenizer = sys.argv[1:]
tstdata.prepare(corpus, out, tokenizer, 128, workers=2, size_limit=200_000, encoder="reference")
"""


@dataclass
class Kill:
    """One kill: who, at which second of its run, and how many finished tasks it left."""

    victim: str
    moment: float
    kept_tasks: int


@dataclass
class Table:
    """What happened: the kills, and for each run that came through whether its bytes are right."""

    kills: list[Kill] = field(default_factory=list)
    equal: list[bool] = field(default_factory=list)

    def text(self) -> str:
        """Returns the table."""
        lines = [f"{'kill':>4}  {'victim':<8} {'second':>7}  finished tasks kept"]
        for number, kill in enumerate(self.kills, 1):
            lines.append(f"{number:>4}  {kill.victim:<8} {kill.moment:>7.2f}  {kill.kept_tasks}")
        resumed = sum(kill.kept_tasks > 0 for kill in self.kills)
        parents = sum(kill.victim == "parent" for kill in self.kills)
        return "\n".join(
            [
                *lines,
                "",
                f"kills                  {len(self.kills)} ({parents} of parents)",
                f"resumed with tasks     {resumed}",
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
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        table = kill_often(Path(folder), args.kills, random.Random(args.seed))
    print(table.text())
    return 0 if all(table.equal) and table.equal else 1


def kill_often(folder: Path, kills: int, draw: random.Random) -> Table:
    """Kills runs in a folder until there were so many kills and the last run came through."""
    tokenizer, corpus = make_inputs(folder)
    begin = time.monotonic()
    _end(_start(corpus, folder / "whole", tokenizer))
    length = time.monotonic() - begin
    wanted, table, out = tree(folder / "whole"), Table(), folder / "out"
    while len(table.kills) < kills or not table.equal or out.exists():
        process = _start(corpus, out, tokenizer)
        if len(table.kills) < kills and (kill := _kill(process, out, draw, length)) is not None:
            table.kills.append(kill)
            continue
        _end(process)
        table.equal.append(tree(out) == wanted)
        shutil.rmtree(out)
    return table


def _start(corpus: Path, out: Path, tokenizer: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "ignore", "-c", _RUN, str(corpus), str(out), str(tokenizer)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Waits for a run that nobody disturbs any more."""
    assert process.stderr is not None
    said = b"" if process.stderr.closed else process.communicate()[1]
    assert process.returncode == 0, said.decode()[-2000:]


def _kill(process: subprocess.Popen[bytes], out: Path, draw: random.Random, length: float) -> Kill | None:
    """Kills one process of a run at a random moment; returns None if it had ended by then."""
    begin, moment = time.monotonic(), draw.uniform(0, length)
    while process.poll() is None and time.monotonic() - begin < moment:
        time.sleep(0.005)
    try:
        parent = psutil.Process(process.pid)
        workers = [one for one in parent.children() if "tstdata.worker" in one.cmdline()]
        victim = draw.choice([parent, *workers])
        victim.kill()
    except psutil.NoSuchProcess:
        return None
    process.communicate()
    failed = process.returncode != 0
    if not failed:  # A worker that had nothing more to do: nobody misses it.
        return None
    return Kill(
        "parent" if victim is parent else "worker", moment, len(list(out.glob(".prepare/task-*.json")))
    )


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
