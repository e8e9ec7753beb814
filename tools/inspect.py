"""Print a dataset's card, its largest sources and how long its documents are; decode rows; find text.

  tst inspect data/bags --row 0 --bag-size 4

--row decodes a row as tokens or as bags, and names the documents it comes from: with --bag-size S the rows
N .. N+S-1 are one bag row, S consecutive tokens make each of its bags. --find shows the documents that hold a
text and the rows where they do; it decodes the documents that end after token --find-from, or that --row and
those after it hold, until --hits are found, and begins none after --find-tokens tokens.
"""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from .numbers import at_least

if TYPE_CHECKING:
    from tstdata.card import DatasetCard
    from tstdata.dataset_files import DatasetFiles
    from tstdata.histograms import Histogram
    from tstdata.inspection import InspectedRow

_SHOWN_SOURCES = 10


def main(argv: list[str] | None = None) -> int:
    """Runs `tst inspect`."""
    parser = argparse.ArgumentParser(
        prog="tst inspect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("dataset", metavar="DATASET", help="directory of a prepared dataset")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--row", type=int, metavar="N", help="decode row N, from 0")
    add(
        "--bag-size",
        type=int,
        metavar="S",
        help="decode the bag row of S rows that begins at row N (default 0)",
    )
    add("--find", metavar="TEXT", help="show documents and rows that hold this text, letter for letter")
    add("--hits", type=at_least(1), default=10, metavar="N", help="stop after N found (default: 10)")
    add(
        "--find-tokens",
        type=at_least(1),
        default=200_000_000,
        metavar="N",
        help="begin no document after N tokens (default: 200,000,000)",
    )
    where.add_argument(
        "--find-from",
        type=at_least(0),
        metavar="TOKEN",
        help="go on where an earlier search said that it stopped",
    )
    add("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    from tstdata.card import DatasetCard
    from tstdata.dataset_files import DatasetFiles
    from tstdata.histograms import document_histograms
    from tstdata.inspection import inspect_row

    files = DatasetFiles(args.dataset)
    card = DatasetCard.load(files)
    if args.find is not None:
        return _find(files, card, args)
    row = None
    histograms = document_histograms(files, card)
    if args.row is not None or args.bag_size is not None:
        bag_size = 1 if args.bag_size is None else args.bag_size
        row = inspect_row(files, args.row or 0, bag_size)
    if args.json:
        print(json.dumps(_as_json(card, histograms, row)))
    else:
        print(_card_text(args.dataset, card))
        for histogram in histograms:
            print("\n".join(histogram.lines()))
        if row is not None:
            print(_row_text(row))
    return 0


def _find(files: "DatasetFiles", card: "DatasetCard", args: argparse.Namespace) -> int:
    from tstdata.finding import Search
    from tstdata.inspection import check_row

    if not args.find:
        raise ValueError("--find needs a text.")
    start = args.find_from or 0
    if args.row is not None:
        check_row(args.row, files, card)
        start = args.row * card.seq_len
    search = Search(files, card, args.find, args.find_tokens, start)
    hits = [dataclasses.asdict(found) for found in search.run(args.hits, progress=True)]
    if args.json:
        print(json.dumps({"found": hits, "next_token": None if search.is_done else search.next_token}))
        return 0
    for hit in hits:
        rows = f"row {hit['first_row']}"
        if hit["last_row"] != hit["first_row"]:
            rows = f"rows {hit['first_row']} to {hit['last_row']}"
        print(f"{hit['path']} {hit['place_kind']} {hit['place']}  {rows}  {_quoted(hit['context'])}")
    go_on = f"not searched to the end: go on with --find-from {search.next_token}"
    end = "searched to the end" if search.is_done else go_on
    print(f"{len(hits)} documents found; {end}")
    return 0


def _as_json(
    card: "DatasetCard", histograms: "list[Histogram]", row: "InspectedRow | None"
) -> dict[str, Any]:
    found: dict[str, Any] = {"card": card.model_dump(mode="json")}
    found["histograms"] = [dataclasses.asdict(histogram) for histogram in histograms]
    if row is not None:
        found["row"] = dataclasses.asdict(row)
        if row.bag_size > 1:
            found["row"]["bags"] = row.bags()
    return found


def _card_text(dataset: str, card: "DatasetCard") -> str:
    recipe, tokenizer = card.recipe, card.tokenizer
    special = f"end-of-text {tokenizer.eos_token!r} = {tokenizer.eos_id}"
    if tokenizer.bos_token is not None:
        special += f", begin-of-text {tokenizer.bos_token!r} = {tokenizer.bos_id}"
    lines = [
        f"dataset    {dataset}  (card {card.sha256[:12]}, format {card.format_version})",
        f"rows       {card.num_rows:,} of {card.seq_len} tokens ({card.dtype}) in {card.num_shards:,} shards",
        f"tokens     {card.num_tokens:,} ({len(card.leftover)} left over after the last row)",
        f"documents  {card.num_documents:,}; left out: {card.num_rejected:,} bad, {card.num_short:,} short",
        f"tokenizer  {tokenizer.vocab_size:,} ids, {special}",
        f"recipe     {card.recipe_sha256[:12]}: text key {recipe.text_key!r}, compression "
        f"{recipe.compression or 'none'}, shards up to {recipe.size_limit:,} bytes",
        f"versions   {', '.join(f'{name} {version}' for name, version in card.versions.items())}",
        f"sources    {len(card.sources):,}",
    ]
    largest = sorted(card.sources, key=lambda source: -source.num_tokens)
    for source in largest[:_SHOWN_SOURCES]:
        counts = f"{source.num_documents:,} documents, {source.num_tokens:,} tokens"
        lines.append(f"  {source.path}  {source.format}  {counts}")
    if len(card.sources) > _SHOWN_SOURCES:
        lines.append(f"  and {len(card.sources) - _SHOWN_SOURCES:,} smaller ones (all with --json)")
    return "\n".join(lines)


def _row_text(row: "InspectedRow") -> str:
    title = f"row {row.row}"
    if row.bag_size > 1:
        title = f"bag row of rows {row.row} to {row.row + row.bag_size - 1}, in bags of {row.bag_size}"
    lines = ["", f"{title}: {len(row.ids):,} tokens, row {row.row_in_shard} of {row.shard}", "documents:"]
    for document in row.documents:
        last = document.first_token + document.num_tokens - 1
        place = f"{document.path} {document.place_kind} {document.place}"
        lines.append(f"  {place}  tokens {document.first_token:,} to {last:,}")
    if row.bag_size == 1:
        lines += ["tokens:", " ".join(map(_quoted, row.tokens))]
    else:
        lines.append("bags:")
        lines += [f"  {number}: {' '.join(map(_quoted, bag))}" for number, bag in enumerate(row.bags())]
    return "\n".join([*lines, "text:", row.text])


def _quoted(token: str) -> str:
    return json.dumps(token, ensure_ascii=False)
