"""Readers joined: bytes that lie in several places, read one after the other into memory of the caller's."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


class Joined(io.RawIOBase):
    """What several readers hold, in their order; each is closed when it has no more."""

    def __init__(self, readers: Iterable[io.RawIOBase | io.BytesIO]) -> None:
        """An iterator of readers may open each when it is its turn."""
        self._left: Iterator[io.RawIOBase | io.BytesIO] = iter(readers)
        self._reading: io.RawIOBase | io.BytesIO | None = None

    def readable(self) -> bool:
        """See `io`."""
        return True

    def readinto(self, into: Any) -> int:
        """Reads what comes next, no more than `into` has room for; returns how many bytes, 0 at the end."""
        while (reading := self._reading or next(self._left, None)) is not None:
            self._reading = reading
            if num_bytes := reading.readinto(into):
                return num_bytes
            self._end_reading()
        return 0

    def close(self) -> None:
        """See `io`."""
        self._end_reading()
        super().close()

    def _end_reading(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None


class FilePart(io.FileIO):
    """So many bytes of a file, from byte `start` on."""

    def __init__(self, path: Path, start: int, num_bytes: int) -> None:
        super().__init__(path)
        self.seek(start)
        self._left = num_bytes

    def readinto(self, into: Any) -> int:
        """See `Joined`."""
        num_bytes = super().readinto(memoryview(into)[: self._left]) or 0
        self._left -= num_bytes
        return num_bytes
