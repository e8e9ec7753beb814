"""The request: what a preparation was asked to make, kept beside unfinished work; and how two differ."""

import importlib.metadata
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from .card import DatasetCard, Recipe, TokenizerIdentity

# The packages that the bytes depend on.
_PACKAGES = ("tst-toolkit", "tokenizers", "pyarrow", "zstandard", "orjson")

# A message names no more of them.
_MOST_SOURCES = 10


class SourceIdentity(BaseModel):
    """A file of the corpus, how it is read, and a hash of its contents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    format: str
    text_key: str | None
    size: int
    sha256: str


class Request(BaseModel):
    """A recipe, a tokenizer, sources, and the package versions at work."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Recipe
    tokenizer: TokenizerIdentity
    sources: tuple[SourceIdentity, ...]
    versions: dict[str, str]

    @classmethod
    def of_part(cls, card: DatasetCard, number: int) -> "Request":
        """Returns what a part of a finished dataset was made of: 0 is the first, then come the appends."""
        part = card.parts[number]
        start = sum(before.num_sources for before in card.parts[:number])
        sources = [
            source.model_dump(include=set(SourceIdentity.model_fields))
            for source in card.sources[start : start + part.num_sources]
        ]
        return cls.model_validate(
            {
                "recipe": part.recipe,
                "tokenizer": card.tokenizer,
                "sources": sources,
                "versions": part.versions,
            }
        )

    @classmethod
    def load(cls, path: Path) -> "Request":
        """Reads a request that was kept.

        Raises:
            ValueError: It can't be read.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError:
            raise ValueError(f"{path} can't be read: remove its directory and prepare again.") from None

    def to_bytes(self) -> bytes:
        """Returns the text that `load` reads."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2)


def package_versions() -> dict[str, str]:
    """Returns the versions of the packages that the bytes of a dataset depend on."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def differences(before: Request, now: Request, with_versions: bool) -> list[str]:
    """Returns a sentence for each thing that changed between two requests."""
    found = list(_changed_fields("", before.recipe, now.recipe))
    found += _changed_fields("tokenizer ", before.tokenizer, now.tokenizer)
    found += _changed_sources(before.sources, now.sources)
    if with_versions and before.versions != now.versions:
        found += _changed("package versions", before.versions, now.versions)
    return found


def unlike(before: Request, now: Request) -> list[str]:
    """Returns a sentence for each thing in which `now` can't be appended to what `before` made."""
    same = ("seq_len", "eos_token", "bos_token", "compression", "hashes", "size_limit", "holdout", "part")
    found = list(_changed_fields("", before.recipe, now.recipe, same))
    return found + list(_changed_fields("tokenizer ", before.tokenizer, now.tokenizer))


def _changed_fields(
    prefix: str, before: BaseModel, now: BaseModel, names: Sequence[str] | None = None
) -> Iterator[str]:
    for name in names or type(before).model_fields:
        yield from _changed(f"{prefix}{name}", getattr(before, name), getattr(now, name))


def _changed(name: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _changed(f"{name} {key}", before.get(key), now.get(key))
    elif before != now:
        yield f"{name} was {before!r}, now {now!r}"


def _changed_sources(before: tuple[SourceIdentity, ...], now: tuple[SourceIdentity, ...]) -> Iterator[str]:
    if [source.path for source in before] != [source.path for source in now]:
        old_paths, new_paths = {source.path for source in before}, {source.path for source in now}
        gone, come = sorted(old_paths - new_paths), sorted(new_paths - old_paths)
        yield from (f"source {path} is gone" for path in gone[:_MOST_SOURCES])
        yield from (f"source {path} is new" for path in come[:_MOST_SOURCES])
        if not gone and not come:
            yield "the order of the sources changed"
        return
    for old, new in itertools.islice(
        (pair for pair in zip(before, now, strict=True) if pair[0] != pair[1]), _MOST_SOURCES
    ):
        if old.sha256 != new.sha256:
            yield f"source {new.path} has other contents"
        elif old.format != new.format:
            yield f"source {new.path} was read as {old.format}, now {new.format}"
        else:
            yield f"source {new.path} was read by the key {old.text_key!r}, now {new.text_key!r}"
