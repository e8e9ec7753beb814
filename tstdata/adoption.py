"""Adoption: data that others tokenised, taken into bag shards as they are, without encoding anything again.

A source is a stream of ids in which one id ends each document, or, in Megatron's format, documents of their
own. What becomes of them is what becomes of encoded text: each document, closed by exactly one end-of-text.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .file_systems import FileStatus, is_uri, status_of

KINDS = ("mds", "megatron", "flat")
_DTYPES = ("uint8", "uint16", "uint32", "uint64", "int16", "int32", "int64")


@dataclass(frozen=True)
class Adoption:
    """What is stated of adopted data; `dtype` is that of flat files and of MDS columns without a type."""

    kind: str
    eos_id: int
    vocab_size: int
    dtype: str | None = None


def check_adoption(kind: str, dtype: str | None) -> None:
    """Refuses what can't be meant.

    Raises:
        ValueError: A value is not one of those there are.
    """
    if kind not in KINDS:
        raise ValueError(f"adopt is {kind!r}; it can be one of {', '.join(KINDS)}.")
    if dtype is not None and dtype not in _DTYPES:
        raise ValueError(f"dtype is {dtype!r}; it can be one of {', '.join(_DTYPES)}.")


def find_adopted(sources: Sequence[str], kind: str, dtype: str | None) -> list[tuple[str, FileStatus]]:
    """Returns the files of adopted sources, in the order given.

    An MDS source is a directory with an `index.json`, a Megatron source a prefix, its `.bin` or its `.idx`, a
    flat source a `.npy` or any other file of ids.

    Raises:
        FileNotFoundError: A source is not there, or not of its kind.
        ValueError: It is in a store, or flat and of no stated dtype.
    """
    found: list[tuple[str, FileStatus]] = []
    for source in sources:
        if is_uri(source):
            raise ValueError(f"{source}: tokenised data is adopted from local files; copy it first.")
        if kind == "mds":
            path = source if source.endswith("index.json") else os.path.join(source, "index.json")
        elif kind == "megatron":
            path = f"{source.removesuffix('.bin').removesuffix('.idx')}.bin"
            status_or_missing(path.removesuffix(".bin") + ".idx", kind)
        else:
            path = source
            if not path.endswith(".npy") and dtype is None:
                raise ValueError(f"{path}: a flat file does not tell its type: give --dtype uint16, say.")
        found.append((path, status_or_missing(path, kind)))
    return found


def status_or_missing(path: str, kind: str) -> FileStatus:
    """Returns a file's status.

    Raises:
        FileNotFoundError: There is none; the message says what is looked for.
    """
    what = {"mds": "directories with an index.json", "megatron": "PREFIX.bin beside PREFIX.idx"}
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist; --adopt {kind} takes {what.get(kind, 'files')}.")
    return status_of(path)
