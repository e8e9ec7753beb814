"""Reading tokenised data: MDS datasets, Megatron's indexed files and flat arrays, as documents of ids."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import zstandard

from .reading import OnBytes, Reject, Run, SourceError
from .source_file import SourceFile, Span

Ids = npt.NDArray[Any]

_COLUMN = "tokens"
_CHUNK_TOKENS = 1 << 20
# A document that does not end is a wrong end-of-text id, not a document.
_MOST_TOKENS = 1 << 27
_MEGATRON_MAGIC = b"MMIDIDX\x00\x00"
_MEGATRON_TYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f8", 7: "<f4", 8: "<u2"}


def read_flat(source: SourceFile, on_bytes: OnBytes, span: Span | None = None) -> Iterator[Run | Reject]:
    """Yields the documents of a `.npy` or raw file of ids; a place is a document's first token."""
    assert span is None
    assert source.adoption is not None
    if source.path.endswith(".npy"):
        try:
            ids = np.load(source.path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise SourceError(f"can't be read as a .npy file: {error}.") from None
        if ids.dtype.kind not in "iu":
            raise SourceError(f"holds {ids.dtype}; ids are whole numbers.")
        ids = ids.reshape(-1)
    else:
        dtype = np.dtype(source.adoption.dtype).newbyteorder("<")
        if source.size % dtype.itemsize:
            raise SourceError(f"has {source.size} bytes: no whole number of {source.adoption.dtype}.")
        ids = np.memmap(source.path, dtype, "r") if source.size else np.zeros(0, dtype)
    yield from _documents(source, _chunks(ids, on_bytes))


def _chunks(ids: Ids, on_bytes: OnBytes) -> Iterator[Ids]:
    for start in range(0, len(ids), _CHUNK_TOKENS):
        chunk = np.array(ids[start : start + _CHUNK_TOKENS])
        on_bytes(chunk.nbytes)
        yield chunk


def read_mds(source: SourceFile, on_bytes: OnBytes, span: Span | None = None) -> Iterator[Run | Reject]:
    """Yields the documents of the rows of an MDS dataset, joined; a place is a document's first token."""
    assert span is None
    folder = Path(source.path).parent
    try:
        shards = orjson.loads(Path(source.path).read_bytes())["shards"]
        rows = (_rows_of_shard(folder, shard, source) for shard in shards)
        yield from _documents(source, (ids for shard in rows for ids in shard))
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError) as error:
        raise SourceError(f"can't be read as an MDS dataset: {error!r}.") from None
    on_bytes(source.size)


def _rows_of_shard(folder: Path, shard: dict[str, Any], source: SourceFile) -> Iterator[Ids]:
    if _COLUMN not in shard["column_names"]:
        raise SourceError(f"has no column {_COLUMN!r}; its columns are {', '.join(shard['column_names'])}.")
    stored = shard["zip_data"] or shard["raw_data"]
    path = folder / stored["basename"]
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise SourceError(f"names the shard {path.name}, which is not there.") from None
    if len(data) != stored["bytes"]:
        raise SourceError(f"names the shard {path.name}, which is cut off: {len(data)} bytes.")
    if shard["zip_data"]:
        if not str(shard["compression"]).startswith("zstd"):
            raise SourceError(f"is compressed by {shard['compression']}; zstd can be read.")
        data = zstandard.ZstdDecompressor().decompress(data, max_output_size=shard["raw_data"]["bytes"])
    number = int(np.frombuffer(data, "<u4", 1)[0])
    offsets = np.frombuffer(data, "<u4", number + 1, 4)
    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        yield _value_of(data[begin:end], shard, source)


def _value_of(sample: bytes, shard: dict[str, Any], source: SourceFile) -> Ids:
    """Finds the column in a sample: first the sizes of all columns of no fixed size, then the values."""
    sizes, at = [], 0
    for size in shard["column_sizes"]:
        sizes.append(size or int(np.frombuffer(sample, "<u4", 1, at)[0]))
        at += 0 if size else 4
    for name, encoding, size in zip(shard["column_names"], shard["column_encodings"], sizes, strict=True):
        if name == _COLUMN:
            return _decode(sample[at : at + size], encoding, source)
        at += size
    raise AssertionError("the column is there")


def _decode(value: bytes, encoding: str, source: SourceFile) -> Ids:
    """Reads `bytes` of the stated type, or MDS's `ndarray:TYPE[:SHAPE]`: without a shape that comes first."""
    assert source.adoption is not None
    kind, _, rest = encoding.partition(":")
    dtype, _, shape = rest.partition(":")
    if kind == "bytes":
        if source.adoption.dtype is None:
            raise SourceError("keeps its tokens as bytes, of no type: give --dtype int64, say.")
        return np.frombuffer(value, np.dtype(source.adoption.dtype).newbyteorder("<"))
    if kind != "ndarray" or not dtype:
        raise SourceError(f"keeps its tokens as {encoding}; it can be bytes or ndarray:TYPE.")
    start = 0
    if not shape:
        ndim, width = value[0] // 4, 1 << value[0] % 4
        start = 1 + ndim * width
    return np.frombuffer(value, np.dtype(dtype).newbyteorder("<"), offset=start)


def read_megatron(source: SourceFile, on_bytes: OnBytes, span: Span | None = None) -> Iterator[Run | Reject]:
    """Yields the documents of a Megatron `.bin` by its `.idx`; a place is a document's number, from 0.

    An end-of-text that ends a document (`--append-eod`) is not part of it; any other is no document's.
    """
    assert span is None
    assert source.adoption is not None
    dtype, lengths, pointers, documents = _megatron_index(Path(source.path.removesuffix(".bin") + ".idx"))
    ids = np.memmap(source.path, dtype, "r") if source.size else np.zeros(0, dtype)
    starts = pointers // dtype.itemsize
    if len(lengths) and int((starts + lengths).max()) > len(ids):
        raise SourceError(f"is cut off: its index names {int((starts + lengths).max())} tokens.")
    for number, (first, last) in enumerate(zip(documents[:-1].tolist(), documents[1:].tolist(), strict=True)):
        parts = [ids[starts[one] : starts[one] + lengths[one]] for one in range(first, last)]
        found = np.concatenate(parts) if parts else np.zeros(0, dtype)
        on_bytes(found.nbytes)
        if len(found) and found[-1] == source.adoption.eos_id:
            found = found[:-1]
        yield _checked(source, number, found)


def _megatron_index(path: Path) -> tuple[np.dtype[Any], Ids, Ids, Ids]:
    """Reads magic, version, type, counts, then sizes and positions of sequences and the ends of documents."""
    data = path.read_bytes()
    if data[:9] != _MEGATRON_MAGIC or int.from_bytes(data[9:17], "little") != 1:
        raise SourceError(f"has an index, {path.name}, that is not Megatron's MMIDIDX of version 1.")
    dtype = np.dtype(_MEGATRON_TYPES.get(data[17], "<f4"))
    if dtype.kind not in "iu":
        raise SourceError(f"has ids of type {data[17]} by its index; ids are whole numbers.")
    sequences, documents = np.frombuffer(data, "<u8", 2, 18).tolist()
    if len(data) < 34 + sequences * 12 + documents * 8:
        raise SourceError(f"has an index, {path.name}, that is cut off.")
    return (
        dtype,
        np.frombuffer(data, "<i4", sequences, 34).astype(np.int64),
        np.frombuffer(data, "<i8", sequences, 34 + sequences * 4),
        np.frombuffer(data, "<i8", documents, 34 + sequences * 12),
    )


def _documents(source: SourceFile, chunks: Iterator[Ids]) -> Iterator[Run | Reject]:
    """Cuts a stream of ids where documents end; what follows the last end is a document too."""
    assert source.adoption is not None
    eos_id = source.adoption.eos_id
    rest: list[Ids] = []
    place = 0
    for chunk in chunks:
        start = 0
        for end in np.flatnonzero(chunk == eos_id).tolist():
            ids = np.concatenate([*rest, chunk[start:end]])
            yield _checked(source, place, ids)
            place += len(ids) + 1
            rest, start = [], end + 1
        rest.append(chunk[start:])
        if sum(map(len, rest)) > _MOST_TOKENS:
            raise SourceError(
                f"has no end-of-text id {eos_id} within {_MOST_TOKENS} tokens from token {place} on: give "
                "the id that ends its documents with --eos-id."
            )
    ids = np.concatenate(rest) if rest else np.zeros(0, np.int64)
    if len(ids):
        yield _checked(source, place, ids)


def _checked(source: SourceFile, place: int, ids: Ids) -> Run | Reject:
    assert source.adoption is not None
    size = source.adoption.vocab_size
    if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= size):
        wrong = int(ids.min()) if int(ids.min()) < 0 else int(ids.max())
        return Reject(place, f"has the id {wrong}; the vocabulary's are 0 to {size - 1}.")
    return Run.of(place, ids.astype(np.uint32))  # type: ignore[arg-type]
