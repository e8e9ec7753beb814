"""Tokenizers: loading one from its files, and finding its end-of-text."""

import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
from tokenizers import AddedToken, Tokenizer

from .card import TokenizerIdentity
from .commit import file_sha256
from .head_start import TOKENIZER_FILE
from .hub import download_tokenizer, is_hub_name
from .identity import identify
from .library_tokenizers import (
    MODEL_SUFFIX,
    RANKS_SUFFIX,
    LibraryTokenizer,
    TiktokenTokenizer,
    load_library_tokenizer,
)

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


class IdsOnly:
    """Stands in for the tokenizer of adopted data that came without one: an id's text is its number."""

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Returns the numbers."""
        return " ".join(map(str, ids))


@dataclass(frozen=True)
class KnownTokenizer:
    """What is known of a tokenizer that another process may have loaded.

    `library_name` is the encoder's name if the files are another library's.
    """

    files: dict[str, Path]
    identity: TokenizerIdentity
    library_name: str | None

    @property
    def dtype(self) -> str:
        """The narrowest column type that holds every id."""
        return "uint16" if self.identity.vocab_size <= 1 << 16 else "uint32"


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer ready to encode text as text, with its files and its identity.

    `backend` is a `tokenizers.Tokenizer`, or what stands in for it. `library` is the tokenizer of another
    library that the files are for; the backend is the same one, or converted from it. `head_start` is the
    fast encoder's, if it has one.
    """

    backend: Any
    files: dict[str, Path]
    identity: TokenizerIdentity
    library: LibraryTokenizer | None = None
    head_start: Any = None

    @property
    def known(self) -> KnownTokenizer:
        """What can be told of it to another process."""
        return KnownTokenizer(self.files, self.identity, self.library.name if self.library else None)


def load_tokenizer(
    path: str | os.PathLike[str], eos_token: str | None = None, bos: bool = False
) -> LoadedTokenizer:
    """Loads a tokenizer: Hugging Face's, SentencePiece's or tiktoken's.

    Args:
        path: A directory, a `tokenizer.json` with the config that lies beside it, a `.model` of
            SentencePiece, `.tiktoken` ranks with their `.json`, or a name on the Hugging Face hub.
        eos_token: The end-of-text token; None: the one that the tokenizer's own config names.
        bos: Whether a begin-of-text id is wanted; it is the config's `bos_token`.

    Raises:
        FileNotFoundError: There is no tokenizer at `path`.
        ValueError: The files can't be read, or a wanted token is not named or is not in the vocabulary.
    """
    path = find_tokenizer(path)
    library: LibraryTokenizer | None = None
    backend: Any
    if path.suffix in (MODEL_SUFFIX, RANKS_SUFFIX):
        library, files = load_library_tokenizer(path)
        config: Mapping[str, Any] = {"eos_token": library.eos_token, "bos_token": library.bos_token}
        backend = _converted(library) or library
    else:
        files = _find_files(path)
        config = _read_config(files)
        backend = _read_backend(files[TOKENIZER_FILE])
        try:
            _add_config_tokens(backend, config)
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{path}: the tokens in its {CONFIG_FILE} can't be understood: {error}."
            ) from None
        _encode_as_text(backend)
    eos_token, eos_id = _special_id(backend, config, "eos_token", eos_token, path)
    bos_token, bos_id = _special_id(backend, config, "bos_token", None, path) if bos else (None, None)
    if bos_id == eos_id:
        raise ValueError(
            f"{path}: begin-of-text and end-of-text are the same token {eos_token!r}; document ends would be "
            "ambiguous. Leave out --bos, or name another token with --eos-token."
        )
    try:
        identified = identify(backend)
    except Exception as error:  # Whatever a tokenizer's library raises.
        raise ValueError(
            f"{path}: the tokenizer fails on a text of many scripts ({error}). It needs ids for every text: "
            "an unknown token, or bytes to fall back to."
        ) from None
    identity = TokenizerIdentity(
        files={name: file_sha256(file) for name, file in files.items()},
        eos_token=eos_token,
        eos_id=eos_id,
        bos_token=bos_token,
        bos_id=bos_id,
        **identified,
    )
    return LoadedTokenizer(backend, files, identity, library)


def find_tokenizer(path: str | os.PathLike[str]) -> Path:
    """Returns where a tokenizer is: a path, or the local copy of what a hub name names.

    Of a directory that has no `tokenizer.json` it is the `.model` or `.tiktoken` file in it.

    Raises:
        FileNotFoundError: There is none.
    """
    found = Path(path)
    if not found.exists() and is_hub_name(os.fspath(path)):
        found = download_tokenizer(os.fspath(path), (*_COPIED, f"*{RANKS_SUFFIX}"))
    if not found.exists():
        raise FileNotFoundError(
            f"{path} does not exist: give --tokenizer a tokenizer directory, a tokenizer.json, a "
            "SentencePiece .model, a .tiktoken file, or a name on the hub."
        )
    if found.is_dir() and not (found / TOKENIZER_FILE).is_file():
        others = sorted(one for one in found.iterdir() if one.suffix in (MODEL_SUFFIX, RANKS_SUFFIX))
        if len(others) == 1:
            return others[0]
    return found


def _converted(library: LibraryTokenizer) -> Tokenizer | None:
    """Returns a library tokenizer as a Hugging Face one where that gives the same ids."""
    if not isinstance(library, TiktokenTokenizer):
        return None
    from .converting import convert_ranks

    return convert_ranks(library)


def _find_files(path: Path) -> dict[str, Path]:
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
    if kind == "eos_token" and isinstance(backend, Tokenizer):
        backend.add_special_tokens([token])  # So that this very text inside a document is text too.
    return token, token_id
