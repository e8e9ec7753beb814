"""Sources: what a user names (files, directories, globs, URIs) as files of known format, in a fixed order."""

import functools
import glob
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .decompression import COMPRESSIONS
from .file_systems import FileStatus, is_uri, join, list_tree, local_path, status_of
from .formats import FORMAT_OF_EXTENSION, FORMATS, TEXT_FORMATS
from .saved_datasets import saved_files
from .source_file import SourceFile

_KIND_OF_EXTENSION = {kind.extension: name for name, kind in COMPRESSIONS.items()}


class Reading(NamedTuple):
    """How files are read unless a source says otherwise: see `find_sources`."""

    source_format: str | None = None
    text_key: str = "text"
    split: str | None = None


def find_sources(
    sources: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    source_format: str | None = None,
    text_key: str = "text",
    split: str | None = None,
    out: str | None = None,
) -> list[SourceFile]:
    """Returns the files of all sources, in the order given; those of a directory or glob sorted by path.

    A source is a path or URI, or PATH::KEY, whose texts are under KEY instead of `text_key`. The format
    follows from the extension, without .gz, .zst, .xz or .bz2, unless `source_format` states it for all
    files. Hidden files and directories (a leading dot) and `__pycache__` are not part of a directory. `split`
    cuts text files into documents: see `read_text`. What lies in the directory `out` is no source where that
    lies in the directory, or what is before the magic of the glob, that a source names.

    Raises:
        FileNotFoundError: A source matches nothing.
        ValueError: A file's format is not known, or nothing was given.
    """
    given = [sources] if isinstance(sources, str | os.PathLike) else sources
    if not given:
        raise ValueError("no sources were given: name files, directories or globs.")
    if source_format is not None and source_format not in TEXT_FORMATS:
        raise ValueError(f"format is {source_format!r}; it can be one of {', '.join(TEXT_FORMATS)}.")
    files: list[SourceFile] = []
    for source in given:
        path, key = _split_key(os.fspath(source))
        is_output = _test_of_output(path, out)
        reading = Reading(source_format, key or text_key, split)
        files += [source_file(found, status, reading) for found, status in _expand(path, is_output)]
        if key is not None and not any(FORMATS[file.format].has_keys for file in files):
            warnings.warn(f"{source}: its files are text, so the key {key!r} has no effect.", stacklevel=2)
    if split is not None and not any(file.format == "text" for file in files):
        warnings.warn(f"split {split!r} has no effect: no source is a text file.", stacklevel=2)
    _warn_of_repeats(file.path for file in files)
    return files


def _test_of_output(source: str, out: str | None) -> Callable[[str], bool]:
    """Returns a function that tells whether a file of a source lies in an output that lies in it too."""
    if out is None:
        return lambda path: False
    base = local_path(source)
    if glob.has_magic(base):
        base = base[: re.search(r"[*?\[]", base).start()].rpartition("/")[0] or "."  # type: ignore[union-attr]
    if is_uri(base) or is_uri(out):
        around, inside = (f"{one.rstrip('/')}/" for one in (base, out))
        return lambda path: around != inside and inside.startswith(around) and path.startswith(inside)
    real = os.path.realpath(out)
    if real == os.path.realpath(base) or not _lies_in(real, os.path.realpath(base)):
        return lambda path: False
    # Once for each folder: of files there may be a million.
    lies_in = functools.cache(lambda folder: _lies_in(folder, real))
    return lambda path: bool(lies_in(os.path.dirname(local_path(path))))


def _split_key(source: str) -> tuple[str, str | None]:
    """Cuts PATH::KEY; a file that is really called so is that file."""
    path, mark, key = source.rpartition("::")
    if not mark or (not is_uri(source) and os.path.exists(source)):
        return source, None
    if not path or not key:
        raise ValueError(f"{source!r}: write PATH::KEY, with the key of the text after the two colons.")
    return path, key


def _expand(source: str, is_output: Callable[[str], bool]) -> list[tuple[str, FileStatus]]:
    """Returns the paths of one source, but of the output, each with its size and time."""
    if is_uri(source):
        return [one for one in _expand_uri(source) if not is_output(one[0])]
    if os.path.isdir(source):
        found = saved_files(source, [path for path in _walk(source) if not is_output(path)])
        if not found:
            raise FileNotFoundError(
                f"{source} is a directory without files (hidden ones and __pycache__ are not looked at)."
            )
    elif os.path.isfile(source):
        found = [source]
    elif not glob.has_magic(source):
        raise FileNotFoundError(
            f"{source} does not exist (looked for from {os.getcwd()}). Name a file, a directory, a glob in "
            "quotes, or a URI such as s3://bucket/folder."
        )
    else:
        found = _by_name(
            path for path in glob.glob(source, recursive=True) if os.path.isfile(path) and not is_output(path)
        )
        if not found:
            raise FileNotFoundError(f"{source} matches no file (`**` matches any depth of directories).")
    return [(path, status_of(path)) for path in found]


def _expand_uri(source: str) -> list[tuple[str, FileStatus]]:
    """The same for a URI: a file, a folder, or a glob; a store's listing tells size and time at once."""
    try:
        return [(source, status_of(source))]
    except FileNotFoundError:
        pass
    if not glob.has_magic(source):
        files = [(name, status) for name, status in list_tree(source) if not _hidden(name)]
        base = source
        if not files:
            raise FileNotFoundError(f"{source} does not exist, or is a folder without files.")
    else:
        base, pattern = _fixed_part(source)
        match = _glob_pattern(pattern)
        files = [(name, status) for name, status in list_tree(base) if match.fullmatch(name)]
        if not files:
            raise FileNotFoundError(f"{source} matches no file (`**` matches any depth of folders).")
    found = {join(base, name): status for name, status in files}
    return [(path, found[path]) for path in saved_files(source, list(found))]


def _fixed_part(source: str) -> tuple[str, str]:
    """Cuts a glob into the folder before its first magic part, and the rest."""
    scheme, _, path = source.partition("://")
    parts = path.split("/")
    at = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    if at == 0:
        raise ValueError(f"{source}: a glob can't match the bucket; name it.")
    return f"{scheme}://{'/'.join(parts[:at])}", "/".join(parts[at:])


def _glob_pattern(pattern: str) -> re.Pattern[str]:
    """Translates a glob as Python's own reads it: `*` and `?` match no slash and no leading dot."""
    words: list[str] = []
    for part in re.findall(r"\*\*/|\*\*$|\[!?\]?[^\]]*\]|.", pattern):
        start = not words or words[-1].endswith(("/", "/)*"))
        if part.startswith("**"):
            words.append(r"(?:(?!\.)[^/]+/)*" if part == "**/" else r"(?:(?!\.)[^/]+/)*(?!\.)[^/]+")
        elif part[0] == "[" and len(part) > 1:
            words.append(
                (r"(?!\.)" if start else "")
                + "["
                + re.sub(r"([\\\[&~|])", r"\\\1", part[1:-1]).replace("!", "^", part[1] == "!")
                + "]"
            )
        elif part in ("*", "?"):
            words.append((r"(?!\.)" if start else "") + ("[^/]*" if part == "*" else "[^/]"))
        else:
            words.append(re.escape(part))
    return re.compile("".join(words))


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in PurePosixPath(name).parts)


def _by_name(paths: Iterable[str]) -> list[str]:
    """Sorts part by part: all of `a/` comes before `a-b/`."""
    return sorted(paths, key=lambda path: Path(path).parts)


def _walk(directory: str) -> Iterator[str]:
    """Yields a directory's files, each folder once: what links lead to comes after all that is there itself.

    What can't be listed is an error. A link to a folder that the directory lies in is not followed.
    """
    seen: set[str] = set()
    waiting = [directory]
    for root in waiting:  # It grows meanwhile.
        for folder, folders, names in os.walk(root, onerror=_raise):
            real = os.path.realpath(folder)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
            links = filter(os.path.islink, (os.path.join(folder, name) for name in sorted(folders)))
            waiting += [link for link in links if not _lies_in(directory, os.path.realpath(link))]
            paths = (os.path.join(folder, name) for name in names if not name.startswith("."))
            # Pipes and sockets are no files; a broken link is for `status_of` to tell.
            yield from (path for path in paths if os.path.isfile(path) or not os.path.exists(path))


def _lies_in(path: str, folder: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(folder)


def _raise(error: OSError) -> None:
    raise error


def source_file(path: str, status: FileStatus, reading: Reading) -> SourceFile:
    """Returns a file with its format and compression.

    Raises:
        ValueError: Its format is not known, or can't be read as it is packed.
    """
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{path!r}: the file's name is not UTF-8, as the card needs; rename it.") from None
    stem, extension = os.path.splitext(path)
    compression, outer = _KIND_OF_EXTENSION.get(extension.lower()), extension
    if compression is not None:
        extension = os.path.splitext(stem)[1]
    found = reading.source_format or FORMAT_OF_EXTENSION.get(extension.lower())
    if found is None:
        known = "; ".join(f"{name} {' '.join(FORMATS[name].extensions)}" for name in TEXT_FORMATS)
        raise ValueError(
            f"{path}: its extension {extension!r} does not tell its format. Known: {known}. Name just the "
            "files you want with a glob such as 'DIR/**/*.py', or say what all of them are with "
            f"--format {'|'.join(TEXT_FORMATS)}."
        )
    if not FORMATS[found].compressible and compression is not None:
        raise ValueError(
            f"{path}: a {found} file can't be read inside {outer} compression; decompress it first."
        )
    split = reading.split if found == "text" else None
    return SourceFile(path, found, compression, status.size, status.modified, reading.text_key, split)


def _warn_of_repeats(paths: Iterable[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        real = path if is_uri(path) else os.path.realpath(path)
        if real in seen:
            warnings.warn(
                f"{path} is named by more than one source: its documents are in the dataset as often.",
                stacklevel=3,
            )
        seen.add(real)
