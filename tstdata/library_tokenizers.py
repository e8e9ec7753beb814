"""Tokenizers in the form of their own library: SentencePiece models and tiktoken ranks, used by that library.

Each has what the data half needs of a tokenizer: `get_vocab`, `token_to_id`, `encode_texts` and `decode`.
"""

import base64
import binascii
import importlib.metadata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson

from .encoder import Encoder, Ids, Lengths

RANKS_SUFFIX, MODEL_SUFFIX = ".tiktoken", ".model"


class LibraryTokenizer(Protocol):
    """A tokenizer that is no Hugging Face one. `name` is the library and its version."""

    name: str
    eos_token: str | None
    bos_token: str | None

    def get_vocab(self) -> dict[str, int]:
        """Returns all tokens by name, and their ids."""

    def token_to_id(self, token: str) -> int | None:
        """Returns the id of a token, special ones included."""

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Encodes text as text: no special tokens added, none recognised."""

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Returns the text of ids."""


class SentencePieceTokenizer:
    """A `.model` file of SentencePiece, whose control symbols, end-of-text among them, no text gives."""

    def __init__(self, path: Path) -> None:
        """Loads the model.

        Raises:
            ValueError: The library is not installed, or can't read it.
        """
        self._model = _library("sentencepiece").SentencePieceProcessor()
        try:
            self._model.Load(str(path))
        except (RuntimeError, OSError) as error:
            raise ValueError(f"{path} can't be read as a SentencePiece model: {error}.") from None
        self.name = f"sentencepiece {importlib.metadata.version('sentencepiece')}"
        self.eos_token, self.bos_token = (
            self._model.id_to_piece(one) if one >= 0 else None
            for one in (self._model.eos_id(), self._model.bos_id())
        )

    def get_vocab(self) -> dict[str, int]:
        """See `LibraryTokenizer`."""
        return {self._model.id_to_piece(one): one for one in range(self._model.get_piece_size())}

    def token_to_id(self, token: str) -> int | None:
        """See `LibraryTokenizer`."""
        found = self._model.piece_to_id(token)
        return found if self._model.id_to_piece(found) == token else None

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """See `LibraryTokenizer`. One text after the other: the workers are what uses the cores."""
        return [self._model.encode(text, out_type=int) for text in texts]

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """See `LibraryTokenizer`."""
        parts: list[str] = []
        run: list[int] = []
        for one in ids:
            if self._model.is_control(one):
                parts += [
                    self._model.decode(run),
                    "" if skip_special_tokens else self._model.id_to_piece(one),
                ]
                run = []
            else:
                run.append(one)
        return "".join([*parts, self._model.decode(run)])


class TiktokenTokenizer:
    """Ranks, a `.tiktoken` file, with what ranks do not tell in a `.json` file of the same name beside it.

    That holds `pattern`, the regular expression that splits text, `special_tokens`, their ids by name, and
    perhaps `eos_token` and `bos_token`.
    """

    def __init__(self, path: Path) -> None:
        """Loads the ranks.

        Raises:
            ValueError: The library is not installed, or a file can't be read.
            FileNotFoundError: The second file is missing.
        """
        self.ranks = _read_ranks(path)
        fields = _read_sidecar(path.with_suffix(".json"))
        self.pattern: str = fields["pattern"]
        self.special: dict[str, int] = fields["special_tokens"]
        self.eos_token, self.bos_token = fields.get("eos_token"), fields.get("bos_token")
        try:
            self._encoding = _library("tiktoken").Encoding(
                path.stem, pat_str=self.pattern, mergeable_ranks=self.ranks, special_tokens=self.special
            )
        except Exception as error:  # Whatever its native part raises on a pattern or ranks it can't take.
            raise ValueError(f"{path} can't be used by tiktoken: {error}.") from None
        self.name = f"tiktoken {importlib.metadata.version('tiktoken')}"

    def get_vocab(self) -> dict[str, int]:
        """See `LibraryTokenizer`; bytes are written as Hugging Face's byte-level tokens are.

        Ids that no token has get names that no text gives, for a space is no byte's character: many readers
        of vocabularies take no holes.
        """
        named = {**{as_text(token): rank for token, rank in self.ranks.items()}, **self.special}
        holes = set(range(max(named.values()))) - set(named.values())
        return {**named, **{f"no token {one}": one for one in sorted(holes)}}

    def token_to_id(self, token: str) -> int | None:
        """See `LibraryTokenizer`."""
        return self.special.get(token, self.ranks.get(token.encode()))

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """See `LibraryTokenizer`."""
        return [self._encoding.encode_ordinary(text) for text in texts]

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """See `LibraryTokenizer`."""
        special = set(self.special.values()) if skip_special_tokens else set()
        return str(self._encoding.decode([one for one in ids if one not in special]))


class LibraryEncoder:
    """The encoder of a library tokenizer: what it gives is right by definition."""

    reference: Encoder | None = None
    batch_characters = 1 << 20

    def __init__(self, tokenizer: LibraryTokenizer, splits_first: bool = False) -> None:
        self.name, self.splits_first = tokenizer.name, splits_first
        self._tokenizer = tokenizer

    def encode_batch(self, texts: Sequence[str]) -> tuple[Ids, Lengths]:
        """See `Encoder`."""
        ids = self._tokenizer.encode_texts(texts)
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        return np.array([one for text in ids for one in text], np.uint32), lengths


def load_library_tokenizer(path: Path) -> tuple[LibraryTokenizer, dict[str, Path]]:
    """Returns a library tokenizer and its files by name."""
    if path.suffix == RANKS_SUFFIX:
        sidecar = path.with_suffix(".json")
        return TiktokenTokenizer(path), {path.name: path, sidecar.name: sidecar}
    return SentencePieceTokenizer(path), {path.name: path}


def as_text(token: bytes) -> str:
    """Returns bytes as Hugging Face's byte-level tokenizers write them: each byte as a visible character."""
    return "".join(_CHARACTERS[byte] for byte in token)


def _visible_characters() -> list[str]:
    visible = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte if byte in visible else next(others)) for byte in range(256)]


_CHARACTERS = _visible_characters()


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ValueError(
            f"this tokenizer needs the package {name}, which is not installed: pip install "
            f"'tst-toolkit[{name}]'."
        ) from None


def _read_ranks(path: Path) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if line.strip():
            try:
                token, rank = line.split()
                ranks[base64.b64decode(token, validate=True)] = int(rank)
            except (ValueError, binascii.Error):
                raise ValueError(
                    f"{path} line {number} is no rank: a line is TOKEN-IN-BASE64 RANK."
                ) from None
    return ranks


def _read_sidecar(path: Path) -> dict[str, Any]:
    form = '{"pattern": "REGEX", "special_tokens": {"<|endoftext|>": ID}, "eos_token": "<|endoftext|>"}'
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist. Ranks alone do not tell the pattern that splits text, nor the special "
            f"tokens, and neither is guessed: write that file, as {form}."
        )
    try:
        fields = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from None
    special = fields.get("special_tokens") if isinstance(fields, dict) else None
    if not isinstance(special, dict) or not isinstance(fields.get("pattern"), str):
        raise ValueError(f"{path} must be of the form {form}.")
    return dict(fields)
