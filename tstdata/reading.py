"""What reading a source file gives: documents, and what could not be one, each with its place in the file."""

import codecs
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

OnBytes = Callable[[int], object]


class Document(NamedTuple):
    """A text and its place: its line from 1, its row or element from 0, or its byte offset, by format."""

    place: int
    text: str


class Run(NamedTuple):
    """Documents that follow each other, so many at once as a format gives them: their places and texts."""

    places: Sequence[int]
    texts: Sequence[str]

    @staticmethod
    def of(place: int, text: str) -> "Run":
        """Returns the run of one document."""
        return Run((place,), (text,))

    def where(self, is_taken: Iterable[bool]) -> "Run":
        """Returns those of which it is told so, in order."""
        taken = [*itertools.compress(range(len(self.texts)), is_taken)]
        return Run([self.places[index] for index in taken], [self.texts[index] for index in taken])

    def documents(self) -> Iterator[Document]:
        """Yields them one by one."""
        return map(Document, self.places, self.texts)


class Reject(NamedTuple):
    """What is no document, and why; `byte` is its offset in the decompressed file where there is one.

    Without a place it is the rest of the file: reading can't go on.
    """

    place: int | None
    reason: str
    byte: int | None = None

    def describe(self, path: str, place_name: str) -> str:
        """Returns the message: the file, the place, the reason."""
        if self.place is None:
            return f"{path} {self.reason}"
        byte = "" if self.byte is None or place_name == "byte" else f" (byte {self.byte})"
        return f"{path} {place_name} {self.place}{byte}: {self.reason}"


# What a file holds, in order. A reader of lines returns in the end how many began in what it was to read: it
# has found their ends, and to count them before would be to look at each byte once more.
Runs = Generator[Run | Reject, None, int | None]


class SourceError(ValueError):
    """A file can't be read on. Its text goes on a sentence that begins with the file's path."""


def text_of(record: Any, text_key: str) -> str:
    """Returns the text of a JSON object.

    Raises:
        ValueError: It has none; the reason is without file and place.
    """
    if not isinstance(record, dict):
        raise ValueError(f"holds {kind_of(record)}; it must be one JSON object with the key {text_key!r}.")
    if text_key not in record:
        raise ValueError(f"no key {text_key!r}; its keys are {listing(record)}. {naming(record)}")
    text = record[text_key]
    if not isinstance(text, str):
        raise ValueError(f"the key {text_key!r} holds {kind_of(text)}; a document's text must be a string.")
    return text


def naming(names: Iterable[str] | Mapping[str, Any]) -> str:
    """Returns how to say which of these is the text."""
    # Those of a file that is not UTF-8 can't be written as they are.
    example = next((name for name in names if name.isprintable()), "KEY")
    return f"Name the text's with --text-key, or for one source as SOURCE::{example}."


def mark_length(beginning: bytes | bytearray | memoryview) -> int:
    """Returns how many bytes of a file's beginning are the byte order mark that some programs put there."""
    return len(codecs.BOM_UTF8) if beginning[:3] == codecs.BOM_UTF8 else 0


def kind_of(value: Any) -> str:
    """Returns what JSON calls a value, in a sentence."""
    names = {
        "NoneType": "null",
        "dict": "an object",
        "list": "a list",
        "str": "a string",
        "bool": "a boolean",
    }
    return names.get(type(value).__name__, "a number")


def listing(names: Any) -> str:
    """Returns names for a message, not all if they are many."""
    shown = [repr(name) for name in list(names)[:20]]
    more = len(names) - len(shown)
    return (", ".join(shown) or "none") + (f" and {more} more" if more > 0 else "")


def utf8_trouble(error: UnicodeDecodeError, offset: int = 0) -> str:
    """Returns what is wrong with bytes that are no UTF-8."""
    return f"not UTF-8 at byte {error.start + offset} ({error.reason})"
