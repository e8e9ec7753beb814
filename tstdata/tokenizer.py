"""Tokenizers: loading one from its files, finding its end-of-text, and telling whether two are the same."""

import hashlib
import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
from tokenizers import AddedToken, Tokenizer

from .card import TokenizerIdentity
from .commit import file_sha256

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
# What transformers may read to load the tokenizer; those that exist are copied beside the shards.
_COPIED = (
    TOKENIZER_FILE,
    CONFIG_FILE,
    "special_tokens_map.json",
    "added_tokens.json",
    "config.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "chat_template.jinja",
)
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# Odd on purpose: case, runs of blanks, digits, composed and decomposed accents, scripts, an emoji sequence,
# invisible characters. No text that looks like a special token: that is treated by settings.
PROBE = (
    " The quick brown fox's 12,345.678 jumps\n\n\tover   the lazy dogs!?\r\n    def f(x): return x**2  # "
    "100% don't DON'T we'll I'M   \nna\u00efve nai\u0308ve \u00c5ngstr\u00f6m \u212b \ufb01ne stra\u00dfe "
    "\u0130I\u0131i \u4f60\u597d\u4e16\u754c \u3053\u3093\u306b\u3061\u306f \uc548\ub155 "
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd "
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \U0001f469\u200d\U0001f4bb\U0001f1e9\U0001f1f0 "
    "\u00a0\u2003\u200b\ufeff e=mc\u00b2 \u00bd \u2167 \u2026 a_b-c/d@e.f "
)


class IdsOnly:
    """Stands in for the tokenizer of adopted data that came without one: an id's text is its number."""

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Returns the numbers."""
        return " ".join(map(str, ids))


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer ready to encode text as text, with its files and its identity."""

    backend: Any
    files: dict[str, Path]
    identity: TokenizerIdentity

    @property
    def dtype(self) -> str:
        """The narrowest column type that holds every id."""
        return "uint16" if self.identity.vocab_size <= 1 << 16 else "uint32"


def load_tokenizer(
    path: str | os.PathLike[str], eos_token: str | None = None, bos: bool = False
) -> LoadedTokenizer:
    """Loads a Hugging Face tokenizer directory, or a `tokenizer.json` with the config that lies beside it.

    Args:
        path: The directory or file.
        eos_token: The end-of-text token; None: the one that the tokenizer's own config names.
        bos: Whether a begin-of-text id is wanted; it is the config's `bos_token`.

    Raises:
        FileNotFoundError: There is no tokenizer at `path`.
        ValueError: The files can't be read, or a wanted token is not named or is not in the vocabulary.
    """
    files = _find_files(Path(path))
    config = _read_config(files)
    backend = _read_backend(files[TOKENIZER_FILE])
    _add_config_tokens(backend, config)
    _encode_as_text(backend)
    eos_token, eos_id = _special_id(backend, config, "eos_token", eos_token, path)
    bos_token, bos_id = _special_id(backend, config, "bos_token", None, path) if bos else (None, None)
    if bos_id == eos_id:
        raise ValueError(
            f"{path}: begin-of-text and end-of-text are the same token {eos_token!r}; document ends would be "
            "ambiguous. Leave out --bos, or name another token with --eos-token."
        )
    identity = TokenizerIdentity(
        files={name: file_sha256(file) for name, file in files.items()},
        eos_token=eos_token,
        eos_id=eos_id,
        bos_token=bos_token,
        bos_id=bos_id,
        **identify(backend),
    )
    return LoadedTokenizer(backend, files, identity)


def identify(tokenizer: Any) -> dict[str, Any]:
    """Returns what makes two tokenizers the same: `vocab_size`, `vocab_sha256` and `probe_sha256`.

    Takes a `tokenizers.Tokenizer` or a transformers tokenizer. `vocab_size` is the highest id + 1, since a
    vocabulary may have holes. The vocabulary's hash is over the token -> id map sorted by token, added tokens
    included; the probe's over the ids of a built-in odd text, without special tokens, as uint32.
    """
    vocab: Mapping[str, int] = tokenizer.get_vocab()
    if isinstance(tokenizer, Tokenizer):
        ids = tokenizer.encode(PROBE, add_special_tokens=False).ids
    else:
        ids = tokenizer(PROBE, add_special_tokens=False, truncation=False, padding=False, verbose=False)[
            "input_ids"
        ]
    listing = "".join(f"{len(token)} {token} {vocab[token]}\n" for token in sorted(vocab))
    return {
        "vocab_size": max(vocab.values()) + 1,
        "vocab_sha256": hashlib.sha256(listing.encode("utf-8", "surrogatepass")).hexdigest(),
        "probe_sha256": hashlib.sha256(np.asarray(ids, "<u4").tobytes()).hexdigest(),
    }


def check_same_tokenizer(expected: TokenizerIdentity, tokenizer: Any) -> None:
    """Refuses a tokenizer that would give other ids than the dataset's; adopted data may know no tokenizer.

    Raises:
        ValueError: Naming what differs.
    """
    if not expected.files:
        return
    found = identify(tokenizer)
    if found["vocab_sha256"] != expected.vocab_sha256:
        raise ValueError(
            f"the tokenizer is unlike the dataset's: its vocabulary ({found['vocab_size']} ids, sha256 "
            f"{found['vocab_sha256'][:12]}) is not the card's ({expected.vocab_size} ids, sha256 "
            f"{expected.vocab_sha256[:12]}). Use the one in the dataset's tokenizer/ directory."
        )
    if found["probe_sha256"] != expected.probe_sha256:
        raise ValueError(
            "the tokenizer is unlike the dataset's: same vocabulary, but it cuts a test text into other ids. "
            "Use the one in the dataset's tokenizer/ directory."
        )


def _find_files(path: Path) -> dict[str, Path]:
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist: give --tokenizer a tokenizer directory or a tokenizer.json."
        )
    if path.is_dir():
        if not (path / TOKENIZER_FILE).is_file():
            raise FileNotFoundError(
                f"{path} has no {TOKENIZER_FILE}. Convert an older tokenizer with transformers: "
                "AutoTokenizer.from_pretrained(OLD).save_pretrained(NEW)."
            )
        main = path / TOKENIZER_FILE
    else:
        main = path
    if (
        main.name != TOKENIZER_FILE
    ):  # A file of another name is taken alone: what lies beside it may be another's.
        return {TOKENIZER_FILE: main}
    return {name: main.parent / name for name in _COPIED if (main.parent / name).is_file()}


def _read_config(files: Mapping[str, Path]) -> dict[str, Any]:
    """Returns the tokenizer's config; what it leaves out comes from special_tokens_map.json."""
    merged: dict[str, Any] = {}
    for name in ("special_tokens_map.json", CONFIG_FILE):
        if name in files:
            try:
                fields = orjson.loads(files[name].read_bytes())
            except orjson.JSONDecodeError as error:
                raise ValueError(f"{files[name]} is not JSON: {error}.") from None
            if not isinstance(fields, dict):
                raise ValueError(
                    f"{files[name]} holds a {type(fields).__name__}; a tokenizer config is an object."
                )
            merged.update({key: value for key, value in fields.items() if value is not None})
    return merged


def _read_backend(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # The tokenizers library raises bare Exception for whatever it can't read.
        raise ValueError(f"{path} can't be read as a Hugging Face tokenizer: {error}.") from None


def _content(token: Any) -> str | None:
    """The text of a token as configs write it: a string, or an object with `content`."""
    return cast("str | None", token.get("content") if isinstance(token, dict) else token)


def _add_config_tokens(backend: Tokenizer, config: Mapping[str, Any]) -> None:
    """Adds the tokens that only the config lists, in transformers' order: ids agree with AutoTokenizer's."""
    listed = sorted(config.get("added_tokens_decoder", {}).items(), key=lambda item: int(item[0]))
    tokens = [AddedToken(**{k: v for k, v in fields.items() if k != "__type"}) for _, fields in listed]
    named = [_content(config.get(name)) for name in _NAMED_TOKENS]
    named += [_content(token) for token in config.get("additional_special_tokens", [])]
    special = {name for name in named if name} | {token.content for token in tokens if token.special}
    have = {token.content for token in [*backend.get_added_tokens_decoder().values(), *tokens]}
    missing = [name for name in dict.fromkeys(named) if name and name not in have]
    tokens += [AddedToken(name, normalized=False, special=True) for name in missing]
    # In runs, because every call builds the tokenizer's search tree anew: Gemma 3 lists 6,400 tokens.
    for is_special, run in itertools.groupby(tokens, key=lambda token: token.content in special):
        (backend.add_special_tokens if is_special else backend.add_tokens)(list(run))
    # A token that was there already keeps its id: it is only marked as special.
    backend.add_special_tokens(sorted(special))


def _encode_as_text(backend: Tokenizer) -> None:
    """Text that looks like a special token is text, and no document is cut or padded."""
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()


def _special_id(
    backend: Tokenizer, config: Mapping[str, Any], kind: str, given: str | None, path: str | os.PathLike[str]
) -> tuple[str, int]:
    option = "--eos-token TOKEN" if kind == "eos_token" else "a bos_token in the tokenizer's config"
    token = given or _content(config.get(kind))
    if token is None:
        raise ValueError(f"{path}: its config names no {kind}, and it is never guessed: give {option}.")
    token_id = backend.token_to_id(token)
    if token_id is None:
        raise ValueError(f"{path}: {kind} {token!r} is not in the vocabulary: give {option}.")
    if kind == "eos_token":
        backend.add_special_tokens([token])  # So that this very text inside a document is text too.
    return token, token_id
