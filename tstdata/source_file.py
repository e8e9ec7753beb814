"""Source files: one file of the corpus, where it lies and how it is to be read."""

from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from .adoption import Adoption
from .file_systems import is_uri, open_file, status_of

_REMOTE_BYTES = 8 << 20
# Small, because a piece of a compressed file may decompress to many times its size.
_LOCAL_BYTES = 1 << 18


class Span(NamedTuple):
    """A part of a file: lines that begin at byte start <= b < stop, or row groups start <= g < stop.

    `first_place` is the number of its first line, so that lines are counted from the file's beginning.
    """

    start: int
    stop: int
    first_place: int = 1


@dataclass(frozen=True)
class SourceFile:
    """One file of the corpus: `path` as the user's source names it, a local path or a URI.

    `compression` is one of `decompression.COMPRESSIONS` or None; `size` in bytes, `modified` in nanoseconds:
    see `check_unchanged`. `text_key` names the text in formats that have keys; `split` cuts text files;
    `adoption` is what is stated of tokenised data.
    """

    path: str
    format: str
    compression: str | None
    size: int
    modified: int
    text_key: str = "text"
    split: str | None = None
    adoption: Adoption | None = None

    def open(self) -> BinaryIO:
        """Opens the file for reading bytes at any position.

        Raises:
            ValueError: It is gone since it was found.
        """
        try:
            return open_file(self.path)
        except FileNotFoundError:
            raise ValueError(self._vanished) from None

    @property
    def _vanished(self) -> str:
        return f"{self.path} vanished while it was in use: put it back and run the same command again."

    @property
    def read_bytes(self) -> int:
        """How much to ask for at once: a request to a store has its price, memory has its own."""
        return _REMOTE_BYTES if is_uri(self.path) else _LOCAL_BYTES

    def check_unchanged(self) -> None:
        """Refuses a file that is not as it was found: what was hashed would not be what was read.

        Raises:
            ValueError: It changed, or is gone.
        """
        try:
            now = status_of(self.path)
        except FileNotFoundError:
            raise ValueError(self._vanished) from None
        if now != (self.size, self.modified):
            raise ValueError(
                f"{self.path} changed while it was in use: prepare from files that are complete."
            )
