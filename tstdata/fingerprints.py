"""Fingerprints: what identifies a source file's contents, made by the tasks while they read the file anyway.

A local file's fingerprint is the xxh128 of its blocks' xxh128, one after the other; a block is 8 MiB of the
file. A task hashes the blocks that begin in its piece: a corpus is read from the disk once, by all workers.
In an object store, where a second reading is a second download, it is the time of change the store tells.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import xxhash

from .file_systems import is_uri
from .pieces import Piece
from .source_file import SourceFile

_BLOCK_BYTES = 8 << 20
_READ_BYTES = 1 << 20


def hash_blocks(source: SourceFile, piece: Piece) -> list[str]:
    """Returns the hashes of the blocks that begin in a piece of a file; none of a remote one."""
    numbers = range(-(-piece.start // _BLOCK_BYTES), -(-piece.stop // _BLOCK_BYTES))
    if not numbers or is_uri(source.path):
        return []
    with source.open() as file:
        file.seek(numbers[0] * _BLOCK_BYTES)
        return [_hash_block(file) for _ in numbers]


def num_blocks(source: SourceFile) -> int:
    """Returns how many blocks a file has."""
    return 0 if is_uri(source.path) else -(-source.size // _BLOCK_BYTES)


def join_blocks(source: SourceFile, blocks: Iterable[str]) -> str:
    """Returns the fingerprint of the file whose blocks these are, in order."""
    if is_uri(source.path):
        return f"modified:{source.modified}"
    return f"xxh128:{xxhash.xxh3_128(b''.join(map(bytes.fromhex, blocks))).hexdigest()}"


def fingerprint(source: SourceFile) -> str:
    """Returns the fingerprint of a file as it is now."""
    return join_blocks(source, hash_blocks(source, Piece(0, source.size)))


def fingerprint_all(
    sources: Sequence[SourceFile], threads: int, on_bytes: Callable[[int], object]
) -> list[str]:
    """Returns the fingerprints of files, several at once: reading and hashing let go of the interpreter."""

    def one(source: SourceFile) -> str:
        found = fingerprint(source)
        on_bytes(source.size)
        return found

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, sources))


def _hash_block(file: BinaryIO) -> str:
    digest, left = xxhash.xxh3_128(), _BLOCK_BYTES
    while left and (data := file.read(min(left, _READ_BYTES))):
        digest.update(data)
        left -= len(data)
    return digest.hexdigest()
