"""Formats: what a corpus file may be, by which extensions it is known, and who reads it. One table."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from .reading import OnBytes, Reject, Run
from .reading_ids import read_flat, read_mds, read_megatron
from .reading_json import read_array, read_lines
from .reading_tables import read_arrow, read_csv, read_parquet
from .reading_text import read_text
from .source_file import SourceFile, Span

Reader = Callable[[SourceFile, OnBytes, Span | None], Iterator[Run | Reject]]


class Format(NamedTuple):
    """One format.

    `place` is what a document's place counts; `cut` what a Span of it counts: "bytes", "groups", or None if
    it can't be read in parts; `has_keys`: a text key names the text; `compressible`: it may lie in .gz, ...
    """

    extensions: tuple[str, ...]
    read: Reader
    place: str
    cut: str | None = None
    has_keys: bool = True
    compressible: bool = True


_PROSE = ".txt .text .md .rst .tex .html .htm .xml .css"
_CODE = (
    ".py .pyi .pyx .c .h .cc .cpp .cxx .hpp .cu .rs .go .java .kt .scala .js .jsx .ts .tsx .rb .php .pl .lua "
    ".r .jl .hs .ml .swift .cs .sh .sql"
)
FORMATS = {
    "jsonl": Format((".jsonl", ".ndjson"), read_lines, "line", cut="bytes"),
    "json": Format((".json",), read_array, "element"),
    "parquet": Format((".parquet", ".pq"), read_parquet, "row", cut="groups", compressible=False),
    "arrow": Format((".arrow", ".feather", ".ipc"), read_arrow, "row", compressible=False),
    "csv": Format((".csv",), read_csv, "line"),
    "tsv": Format((".tsv",), read_csv, "line"),
    "text": Format((*_PROSE.split(), *_CODE.split()), read_text, "byte", has_keys=False),
    # Tokenised data, which no extension tells: see `adoption`.
    "mds": Format((), read_mds, "token", has_keys=False, compressible=False),
    "megatron": Format((), read_megatron, "document", has_keys=False, compressible=False),
    "flat": Format((), read_flat, "token", has_keys=False, compressible=False),
}
TEXT_FORMATS = [name for name, format_ in FORMATS.items() if format_.extensions]
FORMAT_OF_EXTENSION = {
    extension: name for name, format_ in FORMATS.items() for extension in format_.extensions
}


def place_name(source_format: str) -> str:
    """Returns what a document's place in a file of this format counts."""
    return FORMATS[source_format].place
