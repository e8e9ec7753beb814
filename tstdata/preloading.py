"""Preloading: a piece of a file is read once, for what hashes it, counts its lines and parses it."""

import dataclasses
import io
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from .pieces import Piece
from .source_file import SourceFile

# The last line of a piece goes on in the next one. The byte before a piece tells whether a line begins there.
_BEYOND = 1 << 16


@dataclass(frozen=True)
class _Preloaded(SourceFile):
    """A file of which the bytes from `start` on are in memory; the rest is read as it is asked for."""

    data: bytes = dataclasses.field(default=b"", repr=False)
    start: int = 0

    def open(self) -> BinaryIO:
        """Opens it like any other; the file itself only when that is needed."""
        return cast(BinaryIO, _Window(self))

    @property
    def read_bytes(self) -> int:
        """As much as a processor has at hand while it works on it."""
        return 1 << 18


class _Window(io.RawIOBase):
    def __init__(self, file: _Preloaded) -> None:
        self._file, self._data, self._at = file, memoryview(file.data), 0
        self._behind: BinaryIO | None = None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        assert whence == io.SEEK_SET
        self._at = offset
        return offset

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> Any:
        """Returns bytes as they lie in memory, uncopied, where they do."""
        inside = self._at - self._file.start
        if 0 <= inside < len(self._file.data):
            found: bytes | memoryview = self._data[inside:][: size if size >= 0 else None]
        else:
            if self._behind is None:
                self._behind = super(_Preloaded, self._file).open()
            self._behind.seek(self._at)
            found = self._behind.read(size)
        self._at += len(found)
        return found

    def close(self) -> None:
        if self._behind is not None:
            self._behind.close()
        super().close()


def preload(source: SourceFile, piece: Piece) -> SourceFile:
    """Returns the file with a piece by lines in memory; with another piece, the file itself.

    Raises:
        ValueError: It is gone.
        OSError: It can't be read.
    """
    if not piece.by_lines:
        return source
    start = max(piece.start - 1, 0)
    with source.open() as file:
        file.seek(start)
        data = file.read(piece.stop + _BEYOND - start)
    fields = {field.name: getattr(source, field.name) for field in dataclasses.fields(source)}
    return _Preloaded(**fields, data=data, start=start)
