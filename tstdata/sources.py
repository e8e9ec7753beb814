"""Sources: what a user names (files, directories, globs) as files of known format, in a fixed order."""

import glob
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FORMATS = {
    "jsonl": (".jsonl", ".ndjson"),
    "parquet": (".parquet", ".pq"),
    "text": (
        *(".txt", ".text", ".md", ".rst", ".tex", ".html", ".htm", ".xml", ".css"),
        *(
            ".py",
            ".pyi",
            ".pyx",
            ".c",
            ".h",
            ".cc",
            ".cpp",
            ".cxx",
            ".hpp",
            ".cu",
            ".rs",
            ".go",
            ".java",
            ".kt",
        ),
        *(
            ".scala",
            ".js",
            ".jsx",
            ".ts",
            ".tsx",
            ".rb",
            ".php",
            ".pl",
            ".lua",
            ".r",
            ".jl",
            ".hs",
            ".ml",
            ".swift",
        ),
        *(".cs", ".sh", ".sql"),
    ),
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_FORMAT_OF = {extension: name for name, extensions in FORMATS.items() for extension in extensions}


@dataclass(frozen=True)
class SourceFile:
    """One file of the corpus: `path` as the user's source names it, `compression` gzip, zstd or None.

    `size` in bytes, and `modified` in nanoseconds: see `check_unchanged`.
    """

    path: str
    format: str
    compression: str | None
    size: int
    modified: int

    def check_unchanged(self) -> None:
        """Refuses a file that is not as it was found: what was hashed would not be what was read.

        Raises:
            ValueError: It changed.
        """
        now = os.stat(self.path)
        if (now.st_size, now.st_mtime_ns) != (self.size, self.modified):
            raise ValueError(
                f"{self.path} changed while it was in use: prepare from files that are complete."
            )


def find_sources(
    sources: Sequence[str | os.PathLike[str]] | str | os.PathLike[str], source_format: str | None = None
) -> list[SourceFile]:
    """Returns the files of all sources, in the order given; those of a directory or glob sorted by path.

    The format follows from the extension, without .gz or .zst, unless `source_format` states it for all
    files. Hidden files and directories (a leading dot) and `__pycache__` are not part of a directory.

    Raises:
        FileNotFoundError: A source matches nothing.
        ValueError: A file's format is not known, or nothing was given.
    """
    given = [sources] if isinstance(sources, str | os.PathLike) else sources
    if not given:
        raise ValueError("no sources were given: name files, directories or globs.")
    if source_format is not None and source_format not in FORMATS:
        raise ValueError(f"format is {source_format!r}; it can be one of {', '.join(FORMATS)}.")
    files = [_source_file(path, source_format) for source in given for path in _expand(os.fspath(source))]
    _warn_of_repeats(file.path for file in files)
    return files


def _expand(source: str) -> list[str]:
    """Returns the paths of one source."""
    if re.match(r"[a-z][a-z0-9+]+://", source):
        raise ValueError(
            f"{source}: only local files can be read; copy the corpus to a local directory first."
        )
    if os.path.isfile(source):
        return [source]
    if os.path.isdir(source):
        found = list(_walk(source))
        if not found:
            raise FileNotFoundError(
                f"{source} is a directory without files (hidden ones and __pycache__ are not looked at)."
            )
        return _by_name(found)
    if not glob.has_magic(source):
        raise FileNotFoundError(f"{source} does not exist.")
    found = [path for path in glob.glob(source, recursive=True) if os.path.isfile(path)]
    if not found:
        raise FileNotFoundError(f"{source} matches no file (`**` matches any depth of directories).")
    return _by_name(found)


def _by_name(paths: Iterable[str]) -> list[str]:
    """Sorts part by part: all of `a/` comes before `a-b/`."""
    return sorted(paths, key=lambda path: Path(path).parts)


def _walk(directory: str) -> Iterator[str]:
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        yield from (os.path.join(folder, name) for name in names if not name.startswith("."))


def _source_file(path: str, source_format: str | None) -> SourceFile:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{path!r}: the file's name is not UTF-8, as the card needs; rename it.") from None
    stem, extension = os.path.splitext(path)
    compression, outer = COMPRESSIONS.get(extension.lower()), extension
    if compression is not None:
        extension = os.path.splitext(stem)[1]
    found = source_format or _FORMAT_OF.get(extension.lower())
    if found is None:
        known = "; ".join(f"{name} {' '.join(extensions)}" for name, extensions in FORMATS.items())
        raise ValueError(
            f"{path}: its extension {extension!r} does not tell its format. Known: {known}. Name just the "
            "files you want with a glob such as 'DIR/**/*.py', or say what all of them are with "
            "--format jsonl|parquet|text."
        )
    if found == "parquet" and compression is not None:
        raise ValueError(
            f"{path}: a parquet file can't be read inside {outer} compression; decompress it first."
        )
    status = os.stat(path)
    return SourceFile(path, found, compression, status.st_size, status.st_mtime_ns)


def _warn_of_repeats(paths: Iterable[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        real = os.path.realpath(path)
        if real in seen:
            warnings.warn(
                f"{path} is named by more than one source: its documents are in the dataset as often.",
                stacklevel=3,
            )
        seen.add(real)
