"""Turns what pydantic found in a YAML into sentences: path, what was found, the rule, the nearest key."""

import difflib
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

# A harness has thousands of tasks.
MOST_NAMES = 300


def nearest(word: str, words: Iterable[str]) -> str:
    """Returns the advice that follows an unknown word: the closest valid one, or all if they are few."""
    known = sorted(words)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    if len(known) > MOST_NAMES:
        return f"none of the {len(known):,} names known here is like it"
    return f"known here: {', '.join(known) or 'none'}"


def unknown_key(path: str, known: Iterable[str]) -> str:
    """Returns the sentence for a key nobody reads; `path` is its full dotted path."""
    return f"{path}: unknown key; {nearest(path.rpartition('.')[2], known)}"


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """Returns the section classes an annotation allows, looking through Optional, Union and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in typing.get_args(annotation) for section in _sections(part)]


def _names(section: type[BaseModel]) -> tuple[str, ...]:
    name = section.model_fields.get("name")
    return typing.get_args(name.annotation) if name else ()


def _members(holders: list[type[BaseModel]], key: str) -> list[str]:
    """Returns the names that the sections under a key go by."""
    fields = [section.model_fields[key] for section in holders if key in section.model_fields]
    return [name for field in fields for section in _sections(field.annotation) for name in _names(section)]


def _walk(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[str, list[type[BaseModel]]]:
    """Follows pydantic's location to the dotted path a user wrote and the sections that hold its last key.

    Pydantic puts a union member's tag (`wsd`) into the location; it is no part of the path.
    """
    path: list[str] = []
    holders, here = [model], [model]
    for step in map(str, location):
        tagged = [section for section in here if len(here) > 1 and step in _names(section)]
        if tagged:
            here = tagged
            continue
        path.append(step)
        holders = here
        fields = [section.model_fields[step] for section in here if step in section.model_fields]
        here = [found for field in fields for found in _sections(field.annotation)]
    return ".".join(path), holders


def _sentence(model: type[BaseModel], error: ErrorDetails) -> str:
    path, holders = _walk(model, error["loc"])
    if error["type"] == "extra_forbidden":
        return unknown_key(path, {key for section in holders for key in section.model_fields})
    if error["type"] == "missing":
        return f"{path}: missing; this key is needed"
    if error["type"] == "union_tag_not_found":
        return f"{path}.name: missing; one of {error['ctx']['expected_tags']}"
    if error["type"] == "union_tag_invalid":
        found = str(error["ctx"]["tag"])
        return f"{path}.name: found {found!r}; {nearest(found, _members(holders, path.rpartition('.')[2]))}"
    rule = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{path}: found {error['input']!r}; the rule: {rule}"


def problems_of(model: type[BaseModel], failed: ValidationError) -> list[str]:
    """Returns one sentence for each error of a failed validation, in the file's order of sections."""
    return [_sentence(model, error) for error in failed.errors(include_url=False)]
