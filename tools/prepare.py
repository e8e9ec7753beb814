"""Tokenise a corpus into bag shards: one dataset that serves a baseline and every bag size.

  tst prepare 'corpus/*.jsonl.zst' --out data/bags --tokenizer tokenizer/ --seq-len 2048 --workers 2

SOURCE is a file, a directory (its files by path, hidden ones and __pycache__ left out), a quoted glob, or any
of these in a store (s3://, gs://, abfs://, hf://, ...); SOURCE::KEY gives one source its own text key. The
format follows from the extension (.jsonl .json .parquet .arrow .feather .csv .tsv .txt .py ..., most of them
also with .gz .zst .xz .bz2), or is said with --format; a folder that Hugging Face `datasets` saved is read as
such. A text file is one document unless --split cuts it. Every document is followed by the tokenizer's
end-of-text.

Interrupted? Run the same command again: finished tasks are kept, and the bytes come out the same.
"""

import argparse
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tstdata.card import DatasetCard
    from tstdata.preparation import PrepareReport

_SHOWN_SOURCES = 10


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `tst prepare`."""
    parser = argparse.ArgumentParser(
        prog="tst prepare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("sources", nargs="+", metavar="SOURCE", help="file, directory or glob; read in the order given")
    add("--out", required=True, help="directory to make, or a prefix in a store (s3://...)")
    add(
        "--tokenizer",
        metavar="TOK",
        help="tokenizer directory or tokenizer.json, SentencePiece .model, "
        "tiktoken ranks (.tiktoken), or a name on the Hugging Face hub",
    )
    add("--seq-len", required=True, type=int, metavar="L", help="tokens in a row")
    add("--text-key", default="text", metavar="KEY", help="the text's key or column (default: text)")
    add("--format", metavar="FORMAT", help="of all files: jsonl, json, parquet, arrow, csv, tsv or text")
    add("--split", metavar="blank-lines|MARKER", help="cut text files into documents there")
    add("--eos-token", metavar="TOKEN", help="end-of-text, if not the one that the tokenizer's config names")
    add("--bos", action="store_true", help="put the tokenizer's begin-of-text before every document")
    add("--min-chars", type=int, default=0, metavar="N", help="leave out documents of fewer characters")
    add("--limit", type=int, metavar="N", help="take the first N documents")
    add(
        "--holdout",
        type=float,
        metavar="SHARE",
        help="hold out this share of documents, by hash of the text: makes OUT/train and OUT/val",
    )
    add(
        "--on-error",
        choices=("fail", "skip"),
        default="fail",
        help="bad input: stop (default), or leave it out and list it in OUT/rejects.jsonl",
    )
    add(
        "--adopt",
        choices=("mds", "megatron", "flat"),
        help="the sources are token ids already: LLM Foundry's MDS, Megatron's .bin/.idx, or flat .npy/.bin",
    )
    add("--dtype", metavar="TYPE", help="of adopted ids, where the files do not tell it: uint16, int32, ...")
    add("--eos-id", type=int, metavar="ID", help="end-of-text of adopted ids, without --tokenizer")
    add("--vocab-size", type=int, metavar="N", help="of adopted ids, without --tokenizer")
    add("--append", action="store_true", help="add the sources to the finished dataset OUT, as new shards")
    add("--compression", metavar="zstd[:LEVEL]", help="compress the shards")
    add("--size-limit", type=int, metavar="BYTES", help="largest shard before compression (default: 64 MiB)")
    add(
        "--max-whole",
        type=int,
        metavar="CHARS",
        help="longest document to encode whole where it can't be cut with the same ids (default: 4 Mi)",
    )
    add(
        "--encoder",
        choices=("auto", "reference", "fast"),
        default="auto",
        help="auto (default): the fast one if it gives the reference's ids; shards are the same with any",
    )
    add(
        "--work-dir",
        metavar="DIR",
        help="where a dataset for a store is made before its upload (default: tst-prepare in the system's "
        "directory for temporary files)",
    )
    add(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray: encode on a Ray cluster (RAY_ADDRESS, or the one running here)",
    )
    add("--workers", type=int, default=1, metavar="N", help="processes that encode (default: 1)")
    add(
        "--dry-run",
        action="store_true",
        help="estimate tokens, shards, disk and time from a sample; write nothing",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs `tst prepare`."""
    args = build_parser().parse_args(argv)
    # Before numpy is there: its threads, one a core, begin by waiting busily, and nobody multiplies matrices.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import tstdata
    from tstdata.long_documents import DEFAULT_MAX_WHOLE
    from tstdata.shards import DEFAULT_SIZE_LIMIT

    report = tstdata.prepare(
        args.sources,
        args.out,
        args.tokenizer,
        args.seq_len,
        text_key=args.text_key,
        source_format=args.format,
        split=args.split,
        eos_token=args.eos_token,
        bos=args.bos,
        min_chars=args.min_chars,
        limit=args.limit,
        holdout=args.holdout,
        on_error=args.on_error,
        append=args.append,
        adopt=args.adopt,
        adopt_dtype=args.dtype,
        eos_id=args.eos_id,
        vocab_size=args.vocab_size,
        compression=args.compression,
        size_limit=DEFAULT_SIZE_LIMIT if args.size_limit is None else args.size_limit,
        max_whole=DEFAULT_MAX_WHOLE if args.max_whole is None else args.max_whole,
        encoder=args.encoder,
        work_dir=args.work_dir,
        engine=args.engine,
        workers=args.workers,
        dry_run=args.dry_run,
        progress=True,
    )
    for one in filter(None, (report, report.val)):
        print(_plan(one) if one.card is None else _result(one))
    return 0


def _plan(report: "PrepareReport") -> str:
    found = report.estimate
    assert found is not None
    shown = report.files[:_SHOWN_SOURCES]
    lines = [f"{file.path}  {file.format}  {file.size:,} bytes" for file in shown]
    if len(report.files) > len(shown):
        lines.append(f"and {len(report.files) - len(shown):,} more")
    lines += [
        f"sources    {len(report.files):,} files, {report.num_bytes:,} bytes, in {report.num_tasks:,} tasks",
        f"documents  about {found.num_documents:,}  (this and what follows from {found.sampled_documents:,})",
        f"tokens     about {found.num_tokens:,} ({report.dtype}; end-of-text {report.eos_token!r} = "
        f"{report.eos_id})",
        f"rows       about {found.num_rows:,} in {found.num_shards:,} shards",
        f"disk       about {found.stored_bytes:,} bytes, and {found.work_bytes:,} more until it is finished",
        f"time       about {_duration(found.seconds)} of encoding",
    ]
    if found.first_reject:
        lines.append(f"rejects    about {found.num_rejects:,}; the first one: {found.first_reject}")
    return "\n".join([*lines, f"output     {report.out} (nothing was written)"])


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def _result(report: "PrepareReport") -> str:
    card = report.card
    assert card is not None
    per_token = report.stored_bytes / (card.num_rows * card.seq_len)
    if report.already_done:
        print(f"{report.out} holds what these sources give already: nothing to do", file=sys.stderr)
    return "\n".join(
        [
            f"rows             {card.num_rows:,} of {card.seq_len} tokens, in {card.num_shards:,} shards",
            f"tokens           {card.num_tokens:,} ({len(card.leftover)} left over after the last row)",
            f"documents        {card.num_documents:,}{_left_out(card)}",
            f"bytes per token  {per_token:.2f} ({card.dtype}, as stored)",
            f"dataset          {report.out}",
        ]
    )


def _left_out(card: "DatasetCard") -> str:
    reasons = {"too short": card.num_short, "rejected, see rejects.jsonl": card.num_rejected}
    listed = "; ".join(f"{number:,} {reason}" for reason, number in reasons.items() if number)
    return f" (left out: {listed})" if listed else ""
