"""Reading MDS shards of token rows back, checking all that their bytes must be."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import xxhash
import zstandard

from .card import DatasetCard
from .dataset_files import DatasetFiles
from .shards import INDEX_FILE, ShardLayout, shard_names

_BAD_HEADER = "its header (number of rows, offsets, column) is not what the card says"
Rows = npt.NDArray[np.unsignedinteger]


@dataclass
class CheckedShard:
    """Where the end-of-text ids of a shard are, by token (None when it can't be read); all that is wrong."""

    ends: npt.NDArray[np.int64] | None = None
    problems: list[str] = field(default_factory=list)


def layout_of(card: DatasetCard) -> ShardLayout:
    """Returns how the rows of a dataset lie in its shards."""
    return ShardLayout(card.seq_len, card.dtype, card.recipe.compression, card.recipe.size_limit)


def read_index(files: DatasetFiles) -> list[Any]:
    """Returns the entries of `index.json`.

    Raises:
        ValueError: It is not there or not an index.
    """
    try:
        index = orjson.loads(files.read(INDEX_FILE))
        entries = index["shards"]
    except FileNotFoundError:
        raise ValueError(f"{INDEX_FILE} is missing.") from None
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{INDEX_FILE} can't be read as an MDS index: {error!r}.") from None
    if not isinstance(entries, list):
        raise ValueError(f"{INDEX_FILE} can't be read as an MDS index: its shards are no list.")
    return entries


def rows_of_shard(index: int, card: DatasetCard) -> int:
    """Returns how many rows shard number `index` has, as the card tells it; 0 if there is no such shard."""
    a_shard = layout_of(card).rows_per_shard
    for part in card.parts:
        if index < part.num_shards:
            return max(0, min(a_shard, part.num_rows - index * a_shard))
        index -= part.num_shards
    return 0


def first_row_of_shard(index: int, card: DatasetCard) -> int:
    """Returns the number of the first row of shard number `index`."""
    return sum(rows_of_shard(shard, card) for shard in range(index))


def locate_row(row: int, card: DatasetCard) -> tuple[int, int]:
    """Returns the shard that holds a row of the dataset, and the row's number in it."""
    first_shard = 0
    for part in card.parts:
        if row < part.num_rows:
            shard, at = divmod(row, layout_of(card).rows_per_shard)
            return first_shard + shard, at
        row -= part.num_rows
        first_shard += part.num_shards
    raise AssertionError("the row is past the last")


def read_tokens(files: DatasetFiles, card: DatasetCard, start: int, stop: int) -> npt.NDArray[np.int64]:
    """Returns the ids at positions start <= i < stop of a dataset, its leftover included.

    Raises:
        ValueError: A shard is damaged.
        OSError: It can't be read.
    """
    parts: list[npt.NDArray[np.int64]] = []
    at, num_stored = start, card.num_rows * card.seq_len
    while at < min(stop, num_stored):
        row = at // card.seq_len
        shard, row_in_shard = locate_row(row, card)
        last_row = min(-(-stop // card.seq_len), row + rows_of_shard(shard, card) - row_in_shard)
        ids = read_rows(files, card, row, last_row - row).reshape(-1)
        parts.append(ids[at - row * card.seq_len : stop - row * card.seq_len].astype(np.int64))
        at = min(stop, last_row * card.seq_len)
    parts.append(np.array(card.leftover[max(at - num_stored, 0) : max(stop - num_stored, 0)], np.int64))
    return np.concatenate(parts)


def read_rows(files: DatasetFiles, card: DatasetCard, first: int, num_rows: int) -> Rows:
    """Returns rows `first` and on [num_rows, seq_len], all of one shard.

    Raises:
        ValueError: The shard is damaged.
        OSError: It can't be read.
    """
    shard, at = locate_row(first, card)
    layout = layout_of(card)
    raw_name, zip_name = shard_names(shard, card.recipe.compression)
    problems: list[str] = []
    rows: Rows | None = None
    if zip_name is not None:
        raw = _decompress(files.read(zip_name), problems)
        if raw is not None:
            rows = _parse(raw, rows_of_shard(shard, card), layout, problems)
            rows = rows[at : at + num_rows] if rows is not None else None
    else:
        rows = _read_part(files, raw_name, card, shard, slice(at, at + num_rows), problems)
    if rows is None:
        path = files.path(zip_name or raw_name)
        raise ValueError(f"{path}: {'; '.join(problems)}. Check with: tst verify {files}")
    return rows


def _read_part(
    files: DatasetFiles, name: str, card: DatasetCard, shard: int, wanted: slice, problems: list[str]
) -> Rows | None:
    """Reads some rows of a raw shard, its header and nothing else of it."""
    layout = layout_of(card)
    head = layout.header(rows_of_shard(shard, card))
    num_bytes = (wanted.stop - wanted.start) * layout.row_bytes
    with files.open(name) as file:
        if file.read(len(head)) != head:
            problems.append(_BAD_HEADER)
            return None
        file.seek(len(head) + wanted.start * layout.row_bytes)
        data = file.read(num_bytes)
    if len(data) != num_bytes:
        problems.append("it ends before these rows")
        return None
    return np.frombuffer(data, np.dtype(layout.dtype).newbyteorder("<")).reshape(-1, layout.seq_len)


def check_shard(files: DatasetFiles, shard: int, entry: Any, card: DatasetCard) -> CheckedShard:
    """Reads a whole shard and checks its sizes, hashes, header and ids; never fails on a damaged one."""
    layout = layout_of(card)
    raw_name, zip_name = shard_names(shard, layout.compression)
    found = CheckedShard()
    wanted = {"samples": rows_of_shard(shard, card), **layout.config}
    if not isinstance(entry, dict) or any(entry.get(key) != value for key, value in wanted.items()):
        found.problems.append(f"its entry in {INDEX_FILE} is not what the card says")
        entry = entry if isinstance(entry, dict) else {}
    try:
        data = files.read(zip_name or raw_name)
    except OSError as error:
        found.problems.append(
            "is missing" if isinstance(error, FileNotFoundError) else f"can't be read: {error}"
        )
        return found
    raw: bytes | None = data
    if zip_name is not None:
        _check_file(data, entry.get("zip_data"), zip_name, "", found.problems)
        raw = _decompress(data, found.problems)
    if raw is not None:
        _check_file(
            raw, entry.get("raw_data"), raw_name, "decompressed, " if zip_name else "", found.problems
        )
        rows = _parse(raw, wanted["samples"], layout, found.problems)
        if rows is not None:
            found.ends = np.flatnonzero(rows.reshape(-1) == card.tokenizer.eos_id)
            _check_ids(rows, card.tokenizer.vocab_size, found.problems)
    return found


def _check_ids(rows: Rows, vocab_size: int, problems: list[str]) -> None:
    if rows.size and int(rows.max()) >= vocab_size:
        row = int(np.flatnonzero((rows >= vocab_size).any(axis=1))[0])
        problems.append(
            f"row {row} of the shard has id {rows[row].max()}; the tokenizer's ids are below {vocab_size}"
        )


def _check_file(data: bytes, listed: Any, name: str, state: str, problems: list[str]) -> None:
    hashes = listed.get("hashes") if isinstance(listed, dict) else None
    if not isinstance(hashes, dict) or listed.get("basename") != name:
        problems.append(f"{INDEX_FILE} lists no hashes for {name}")
        return
    if listed.get("bytes") != len(data):
        problems.append(f"{state}it has {len(data)} bytes; {INDEX_FILE} says {listed.get('bytes')}")
    found = xxhash.xxh64(data).hexdigest()
    if hashes.get("xxh64") != found:
        problems.append(f"{state}its xxh64 is {found}; {INDEX_FILE} says {hashes.get('xxh64')}")


def _decompress(data: bytes, problems: list[str]) -> bytes | None:
    try:
        stream = zstandard.ZstdDecompressor().decompressobj()
        raw: bytes = stream.decompress(data)
    except (zstandard.ZstdError, MemoryError) as error:
        problems.append(f"its zstd stream is broken: {error}")
        return None
    if not stream.eof or stream.unused_data:
        problems.append("its zstd stream is cut off" if not stream.eof else "bytes follow its zstd stream")
        return None
    return raw


def _parse(raw: bytes, num_rows: int, layout: ShardLayout, problems: list[str]) -> Rows | None:
    """Returns the rows of a raw shard; None, with the problem told, when its header is not as it must be."""
    head = layout.header(num_rows)
    wanted = len(head) + num_rows * layout.row_bytes
    if len(raw) != wanted:
        problems.append(
            f"{num_rows} rows of {layout.seq_len} {layout.dtype} take {wanted} bytes, not {len(raw)}"
        )
        return None
    if raw[: len(head)] != head:
        problems.append(_BAD_HEADER)
        return None
    little = np.dtype(layout.dtype).newbyteorder("<")
    return np.frombuffer(raw, little, offset=len(head)).reshape(num_rows, layout.seq_len)
