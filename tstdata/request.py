"""The request: what a preparation was asked to make, kept beside unfinished work; and how two differ."""

import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from .card import DatasetCard, Recipe, Source, TokenizerIdentity
from .formats import FORMATS
from .source_file import SourceFile

# The packages that the bytes depend on.
_PACKAGES = ("tst-toolkit", "tokenizers", "pyarrow", "zstandard", "orjson")


class KeptSource(BaseModel):
    """A file of the corpus as it was found, and how it is read; `modified` in nanoseconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    format: str
    text_key: str | None
    size: int
    modified: int

    @classmethod
    def of(cls, file: SourceFile) -> "KeptSource":
        """Returns what is kept of a source file."""
        return cls(
            path=file.path, format=file.format, text_key=key_of(file), size=file.size, modified=file.modified
        )


def key_of(file: SourceFile) -> str | None:
    """Returns the text key of a file, None where its format has no keys."""
    return file.text_key if FORMATS[file.format].has_keys else None


class Request(BaseModel):
    """A recipe, a tokenizer, sources, and the package versions at work."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Recipe
    tokenizer: TokenizerIdentity
    sources: tuple[KeptSource, ...]
    versions: dict[str, str]

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


@dataclass(frozen=True)
class MadeOf:
    """What a part of a finished dataset was made of."""

    recipe: Recipe
    tokenizer: TokenizerIdentity
    sources: tuple[Source, ...]
    versions: dict[str, str]

    @classmethod
    def part(cls, card: DatasetCard, number: int) -> "MadeOf":
        """Returns it for one part: 0 is the first, then come the appends."""
        part = card.parts[number]
        start = sum(before.num_sources for before in card.parts[:number])
        sources = card.sources[start : start + part.num_sources]
        return cls(part.recipe, card.tokenizer, sources, part.versions)


def differences(before: Request | MadeOf, now: Request, with_versions: bool) -> list[str]:
    """Returns a sentence for each thing but the sources that changed."""
    found = list(_changed_fields("", before.recipe, now.recipe))
    found += _changed_fields("tokenizer ", before.tokenizer, now.tokenizer)
    if with_versions and before.versions != now.versions:
        found += _changed("package versions", before.versions, now.versions)
    return found


def rejected_of(card: DatasetCard, request: Request) -> int:
    """Returns how many documents were left out of the part that a request made: the last one made so."""
    paths = [source.path for source in request.sources]
    for number in reversed(range(len(card.parts))):
        made = MadeOf.part(card, number)
        if [source.path for source in made.sources] == paths and not differences(made, request, False):
            return card.parts[number].num_rejected
    raise AssertionError("the dataset has the part")


def unlike(before: MadeOf, now: Request) -> list[str]:
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
