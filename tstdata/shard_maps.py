"""Shards as memory maps: each is opened and checked once, then every row is a slice of it."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# A map keeps a file descriptor, of which processes have 1,024 by default.
_KEPT = 256

Identity = tuple[int, int, int]


class DamagedShardError(ValueError):
    """A shard's file is not what index.json says; `identity` tells that file from one put in its place."""

    def __init__(self, message: str, identity: Identity) -> None:
        super().__init__(message)
        self.identity = identity


class ShardMaps:
    """The stored tokens of shards, by number; a process's own. Files in use may be removed: maps stay valid.

    Args:
        shards: Streaming's shard readers, all with one column of fixed width.
        hash_of: Returns the hash, in hexadecimal, of bytes by an algorithm's name.
        algorithms: Which of its hashes is compared, once for each file found, by shard; None: none.
    """

    def __init__(
        self, shards: Sequence[Any], hash_of: Callable[[str, Any], str], algorithms: Sequence[str | None]
    ) -> None:
        _, dtype, width = shards[0].column_encodings[0].split(":")
        self._shards, self._hash_of, self._algorithms = shards, hash_of, algorithms
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self.row_bytes = int(width) * self._dtype.itemsize
        self._open: dict[int, npt.NDArray[Any]] = {}
        self._checked: dict[int, Identity] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the maps: a worker process opens its own, where pickling would copy what they hold."""
        return {**self.__dict__, "_open": {}}

    def get(self, number: int) -> npt.NDArray[Any] | None:
        """Returns the tokens of a shard that is open, else None."""
        return self._open.get(number)

    def open(self, number: int) -> npt.NDArray[Any]:
        """Opens a shard that is local, after checking it, and returns its tokens `[rows * L]`, as stored.

        Raises:
            FileNotFoundError: It is not local.
            DamagedShardError: Its size, hash or header are wrong.
        """
        data = self.check(number)
        begin = int(data[4:8].view(np.uint32)[0])
        tokens: npt.NDArray[Any] = data[begin:].view(self._dtype)
        while len(self._open) >= _KEPT:
            self._open.pop(next(iter(self._open)), None)
        self._open[number] = tokens
        return tokens

    def check(self, number: int) -> npt.NDArray[np.uint8]:
        """Returns the bytes of a shard that is local; hashes them unless it has hashed this very file before.

        Through the map: to read a file of 64 MB into memory takes seven times as long as to hash it.

        Raises:
            FileNotFoundError: It is not local.
            DamagedShardError: Its size, hash or header are wrong.
        """
        with open(self._path(number), "rb") as file:
            identity = _identity(os.fstat(file.fileno()))
            data = self._map(number, file, identity)
        if self._checked.get(number) != identity:
            self._check_hash(number, data, identity)
            self._checked[number] = identity
        return data

    def drop(self, number: int) -> None:
        """Closes a shard if it is open, so that the space of its file can be freed."""
        self._open.pop(number, None)

    def close(self) -> None:
        """Closes all of them."""
        self._open.clear()

    def numbers(self) -> list[int]:
        """Returns the shards that are open."""
        return list(self._open)

    def is_still(self, number: int, identity: Identity) -> bool:
        """Returns whether a shard's file is there and the one that `identity` was taken of."""
        try:
            return _identity(os.stat(self._path(number))) == identity
        except FileNotFoundError:
            return False

    def _path(self, number: int) -> str:
        shard = self._shards[number]
        return os.path.join(shard.dirname, shard.split, shard.raw_data.basename)

    def _map(self, number: int, file: Any, identity: Identity) -> npt.NDArray[np.uint8]:
        """Maps a shard's file whose size and header are as they must be."""
        shard, size = self._shards[number], identity[1]
        if size != shard.raw_data.bytes:
            raise DamagedShardError(
                f"{file.name} has {size} bytes and index.json says {shard.raw_data.bytes}", identity
            )
        data: npt.NDArray[np.uint8] = np.asarray(np.memmap(file, np.uint8, "r"))
        rows = len(shard)
        begins = data[4 : 4 * (rows + 2)].view(np.uint32).astype(np.int64)
        expected = size - self.row_bytes * np.arange(rows, -1, -1)
        if data[:4].view(np.uint32)[0] != rows or not np.array_equal(begins, expected):
            raise DamagedShardError(f"{file.name} has a header that is not of {rows} equal rows", identity)
        return data

    def _check_hash(self, number: int, data: npt.NDArray[np.uint8], identity: Identity) -> None:
        hashes = self._shards[number].raw_data.hashes
        algorithm = self._algorithms[number]
        if algorithm is None or algorithm not in hashes:
            return
        found, expected = self._hash_of(algorithm, data), hashes[algorithm]
        if found != expected:
            raise DamagedShardError(
                f"{self._path(number)} has the {algorithm} {found} and index.json says {expected}",
                identity,
            )


def _identity(status: os.stat_result) -> Identity:
    return status.st_ino, status.st_size, status.st_mtime_ns
