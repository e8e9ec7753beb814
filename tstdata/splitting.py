"""Splitting: whether a tokenizer splits text into words by patterns before it merges anything."""

from typing import Any

import orjson
from tokenizers import Tokenizer

_SPLITTING = {"ByteLevel", "Split", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit"}
# None of these joins an ASCII letter or a space to what comes before it.
_LOCAL_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD"}


def splits_first(backend: Tokenizer) -> bool:
    """Tells whether the ids of a text are those of its words, found from left to right by patterns."""
    splits = _flatten(_parts(backend.pre_tokenizer), "pretokenizers")
    normalizers = _flatten(_parts(backend.normalizer), "normalizers")
    return (
        any(_splits(one) for one in splits)
        and all(one["type"] in _SPLITTING for one in splits)
        and all(one["type"] in _LOCAL_NORMALIZERS for one in normalizers)
        and not any(one.get("add_prefix_space") for one in splits)
    )


def _parts(component: Any) -> Any:
    # As `tokenizer.json` has it; the whole tokenizer's text would take a fifth of a second.
    return None if component is None else orjson.loads(component.__getstate__())


def _flatten(part: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    return (
        [leaf for one in part[key] for leaf in _flatten(one, key)] if part["type"] == "Sequence" else [part]
    )


def _splits(part: dict[str, Any]) -> bool:
    return part["type"] != "ByteLevel" or part.get("use_regex", True)
