"""Documents: the texts of a source file, one by one, each with its place in the file."""

from collections.abc import Iterator
from typing import cast

from .formats import FORMATS
from .reading import Document, OnBytes, Reject, Run, Runs, SourceError
from .source_file import SourceFile, Span


def read_documents(
    source: SourceFile, on_bytes: OnBytes = lambda _: None, span: Span | None = None
) -> Iterator[Document | Reject]:
    """Yields what a file, or a span of it, holds in order: documents, and rejects where there is none.

    See `read_runs`.
    """
    for found in read_runs(source, on_bytes, span):
        if isinstance(found, Run):
            yield from found.documents()
        else:
            yield found


def read_runs(source: SourceFile, on_bytes: OnBytes = lambda _: None, span: Span | None = None) -> Runs:
    """Yields the same with documents many at a time, which takes a fraction of the time.

    When the file can't be read on, the last reject says so, and has no place. `on_bytes` is told of the bytes
    of the file as they are read.

    Returns:
        How many lines begin in the file or span, where a document is a line; else None.

    Raises:
        ValueError: The file is gone.
        OSError: The disk or the store failed.
    """
    try:
        return (yield from cast(Runs, FORMATS[source.format].read(source, on_bytes, span)))
    except SourceError as error:
        yield Reject(None, str(error))
        return None


def explain(source: SourceFile, reject: Reject) -> str:
    """Returns the error message of a reject."""
    return reject.describe(source.path, FORMATS[source.format].place)


__all__ = ["Document", "Reject", "Run", "Runs", "Span", "explain", "read_documents", "read_runs"]
