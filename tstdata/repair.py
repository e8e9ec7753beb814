"""Repair: damaged shards and indexes made again, from the sources and to the same bytes."""

import hashlib
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .card import DatasetCard
from .dataset_files import DatasetFiles
from .encoder import Encoder
from .merging import DOCUMENTS_DIR, TOKENIZER_DIR
from .origin import encode_again, records_between, stored_encoder
from .progress import Progress
from .shard_reading import Rows, first_row_of_shard, layout_of, read_index, read_rows, rows_of_shard
from .shards import INDEX_FILE, index_bytes, write_shard


def repair(
    files: DatasetFiles, card: DatasetCard, damaged: Iterable[str], progress: bool = False
) -> list[str]:
    """Makes damaged shards and `index.json` again; returns the names of the files it wrote.

    Only the documents that have a token in a damaged shard are read and encoded again.

    Raises:
        ValueError: A source changed, or something else than shards and index is damaged.
        OSError: A file can't be read or written.
    """
    names = sorted(set(damaged))
    shards = {name: int(match[1]) for name in names if (match := re.fullmatch(r"shard\.(\d+)\.mds.*", name))}
    others = [name for name in names if name not in shards and name != INDEX_FILE]
    if others:
        raise ValueError(
            f"{files.path(others[0])} can't be made again from the sources. {_remedy(others[0])}"
        )
    entries = None if INDEX_FILE in names else read_index(files)
    encoder = stored_encoder(files, card) if shards else None
    with (
        Progress("repairing", sum(rows_of_shard(n, card) for n in shards.values()), progress) as bar,
        tempfile.TemporaryDirectory() as scratch,
    ):
        for name, shard in shards.items():
            assert encoder is not None
            rows = _rows_again(files, card, shard, encoder)
            entry = write_shard(Path(scratch), shard, rows, layout_of(card))
            if entries is not None and entries[shard] != entry:
                raise ValueError(
                    f"{files.path(name)} can't be repaired: its sources or package versions give other bytes "
                    "now than when it was made. Bring those back, or prepare the dataset again."
                )
            files.write(name, Path(scratch, name).read_bytes())
            bar.advance(len(rows))
    if entries is None and not repair_index(files, card):
        raise ValueError(
            f"{files.path(INDEX_FILE)} can't be made again: the shards are not those of the card. Prepare "
            "the dataset again, into another --out."
        )
    return names


def _rows_again(files: DatasetFiles, card: DatasetCard, shard: int, encoder: Encoder) -> Rows:
    start = first_row_of_shard(shard, card) * card.seq_len
    stop = start + rows_of_shard(shard, card) * card.seq_len
    tokens = np.empty(stop - start, card.dtype)
    filled = 0
    for record, ids in encode_again(card, records_between(files, card, start, stop), encoder):
        if len(ids) != record.num_tokens:
            path = card.sources[record.source].path
            raise ValueError(f"{path} changed: its document at {record.place} gives {len(ids)} ids now.")
        first, last = max(record.first_token, start), min(record.first_token + len(ids), stop)
        tokens[first - start : last - start] = ids[first - record.first_token : last - record.first_token]
        filled += last - first
    assert filled == len(tokens), "the documents cover the shard"
    return tokens.reshape(-1, card.seq_len)


def repair_index(files: DatasetFiles, card: DatasetCard) -> bool:
    """Makes `index.json` again from the shards; returns whether they are those of the card, all of them."""
    entries: list[Any] = []
    with tempfile.TemporaryDirectory() as scratch:
        for shard in range(card.num_shards):
            try:
                rows = read_rows(files, card, first_row_of_shard(shard, card), rows_of_shard(shard, card))
            except (ValueError, OSError):
                return False
            entries.append(write_shard(Path(scratch), shard, rows, layout_of(card)))
            for path in Path(scratch).iterdir():
                path.unlink()
    data = index_bytes(entries)
    if hashlib.sha256(data).hexdigest() != card.files[INDEX_FILE]:
        return False
    files.write(INDEX_FILE, data)
    return True


def _remedy(name: str) -> str:
    if name.startswith(TOKENIZER_DIR):
        return "Copy it from the tokenizer that the dataset was prepared with."
    if name.startswith(DOCUMENTS_DIR):
        return (
            "Prepare the dataset again, into another --out: its documents tell where every token comes from."
        )
    return "Prepare the dataset again, into another --out."
