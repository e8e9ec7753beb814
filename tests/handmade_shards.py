"""Bag shards without a card, of any sizes, written by streaming's own MDSWriter."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from streaming import MDSWriter

SEQ_LEN = 8


def tokens_of_row(row: int, seq_len: int = SEQ_LEN) -> list[int]:
    """The tokens that `write_shards` puts into a row: no two rows are alike."""
    return [row * seq_len + place for place in range(seq_len)]


def write_shards(
    folder: Path,
    rows_per_shard: Sequence[int],
    seq_len: int = SEQ_LEN,
    hashes: Sequence[str] = ("xxh64",),
    compression: str | None = None,
    first_row: int = 0,
    dtype: str = "uint16",
) -> Path:
    """Writes one shard after the other and joins their indexes into one."""
    folder.mkdir(parents=True)
    entries, row = [], first_row
    for number, num_rows in enumerate(rows_per_shard):
        part = folder / "part"
        columns = {"tokens": f"ndarray:{dtype}:{seq_len}"}
        with MDSWriter(out=str(part), columns=columns, hashes=list(hashes), compression=compression) as out:
            for _ in range(num_rows):
                out.write({"tokens": np.array(tokens_of_row(row, seq_len), dtype)})
                row += 1
        (entry,) = json.loads((part / "index.json").read_text())["shards"]
        for info in filter(None, (entry["raw_data"], entry["zip_data"])):
            name = info["basename"].replace("shard.00000", f"shard.{number:05}")
            if (part / info["basename"]).exists():
                (part / info["basename"]).rename(folder / name)
            info["basename"] = name
        entries.append(entry)
        (part / "index.json").unlink()
        part.rmdir()
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": entries}))
    return folder
