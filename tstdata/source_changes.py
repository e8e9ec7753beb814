"""Source changes: what is no longer as it was when a preparation began, or when its dataset was finished."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

from .card import Source
from .file_systems import is_uri
from .fingerprints import fingerprint_all, hash_blocks
from .options import PrepareOptions
from .progress import Progress
from .request import KeptSource, key_of
from .segments import Segment
from .source_file import SourceFile
from .tasks import Task

# A message names no more of them.
_MOST_SOURCES = 10


def since_card(before: Sequence[Source], now: Sequence[SourceFile], options: PrepareOptions) -> list[str]:
    """Returns a sentence for each source that is not what a card says; it reads all of them."""
    moved = list(_other_paths(before, now))
    if moved:
        return moved
    with Progress("hashing", sum(file.size for file in now), options.progress) as bar:
        found = fingerprint_all(now, options.workers, bar.advance)
    pairs = zip(before, now, strict=True)
    changes = (
        _other_contents(new.path) if old.fingerprint != mark else _other_reading(old, new)
        for (old, new), mark in zip(pairs, found, strict=True)
    )
    return list(itertools.islice(filter(None, changes), _MOST_SOURCES))


def since_request(
    before: Sequence[KeptSource], now: Sequence[SourceFile], done: Iterable[tuple[Task, Segment]]
) -> list[str]:
    """Returns a sentence for each source that is not as it was when finished tasks read it.

    A file whose time has changed is read again as far as tasks are `done`: the rest is still to be read.
    """
    moved = list(_other_paths(before, now))
    if moved:
        return moved
    pairs = list(zip(before, now, strict=True))
    touched = {number for number, (old, new) in enumerate(pairs) if old.modified != new.modified}
    resized = {new.path for old, new in pairs if old.size != new.size}
    changed = resized | {now[number].path for number in touched if is_uri(now[number].path)}
    for task, segment in done if touched else ():
        for one, kept in zip(task.pieces, segment.marker.pieces, strict=True):
            unsure = one.source in touched and one.file.path not in changed
            if unsure and tuple(hash_blocks(one.file, one.piece)) != kept.blocks:
                changed.add(one.file.path)
    changes = (
        _other_contents(new.path) if new.path in changed else _other_reading(old, new) for old, new in pairs
    )
    return list(itertools.islice(filter(None, changes), _MOST_SOURCES))


def listed_otherwise(before: Sequence[Source | KeptSource], now: Sequence[KeptSource]) -> list[str]:
    """Returns a sentence for each source that differs in path, size or how it is read, none is read."""
    pairs = zip(before, now, strict=False)
    changes = (
        _other_contents(new.path) if old.size != new.size else _other_reading(old, new) for old, new in pairs
    )
    return list(_other_paths(before, now)) or list(itertools.islice(filter(None, changes), _MOST_SOURCES))


def _other_reading(old: Source | KeptSource, new: SourceFile | KeptSource) -> str | None:
    if old.format != new.format:
        return f"source {new.path} was read as {old.format}, now {new.format}"
    if old.text_key != (key := new.text_key if isinstance(new, KeptSource) else key_of(new)):
        return f"source {new.path} was read by the key {old.text_key!r}, now {key!r}"
    return None


def _other_contents(path: str) -> str:
    return f"source {path} has other contents"


def _other_paths(
    before: Sequence[Source | KeptSource], now: Sequence[SourceFile | KeptSource]
) -> Iterator[str]:
    old, new = [source.path for source in before], [source.path for source in now]
    gone, come = sorted(set(old) - set(new)), sorted(set(new) - set(old))
    yield from (f"source {path} is gone" for path in gone[:_MOST_SOURCES])
    yield from (f"source {path} is new" for path in come[:_MOST_SOURCES])
    if old != new and not gone and not come:
        yield "the order of the sources changed"
