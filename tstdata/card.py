"""The dataset card, `dataset.json`: what a dataset is made of. A dataset without it is not finished.

Nothing in it varies between equal runs: no time, no number of workers, no output path.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from .commit import commit_bytes
from .dataset_files import DatasetFiles, DatasetPath
from .selection import TRAIN, VAL

CARD_FILE = "dataset.json"
FORMAT_VERSION = 2


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Recipe(_Record):
    """What was asked for: with the sources and the tokenizer, all that the shards' bytes depend on.

    `holdout` is the share of documents that go to `val`, and `part` which of the two this dataset is. `adopt`
    is the format of data that others tokenised, and `adopt_dtype` what was stated of its type.
    """

    seq_len: int
    text_key: str
    source_format: str | None
    split: str | None
    min_chars: int
    max_whole: int
    limit: int | None
    holdout: float | None
    part: str | None
    adopt: str | None
    adopt_dtype: str | None
    eos_token: str
    bos_token: str | None
    compression: str | None
    hashes: tuple[str, ...]
    size_limit: int


class TokenizerIdentity(_Record):
    """Which tokenizer made the ids; see `tstdata.tokenizer.identify` for the two hashes."""

    files: dict[str, str]
    vocab_size: int
    eos_token: str
    eos_id: int
    bos_token: str | None
    bos_id: int | None
    vocab_sha256: str
    probe_sha256: str


class Source(_Record):
    """One file of the corpus; `text_key` names the text where its format has keys.

    `fingerprint` tells its contents: see `tstdata.fingerprints`.
    """

    path: str
    format: str
    text_key: str | None
    size: int
    fingerprint: str
    num_documents: int
    num_tokens: int


class Part(_Record):
    """What one preparation added: the first of a dataset, or an append.

    Its shards are full but the last, and none is shared with another part. An append's rows begin with the
    leftover of the parts before it, so `num_tokens` of its documents may make a row more than they fill.
    `num_rejected` documents could not be read and are listed in a file of rejects; `num_short` had fewer
    characters than asked for.
    """

    recipe: Recipe
    num_sources: int
    num_documents: int
    num_tokens: int
    num_rows: int
    num_shards: int
    num_rejected: int
    num_short: int
    versions: dict[str, str]


# What parts sum up to.
COUNTS = ("num_documents", "num_tokens", "num_rows", "num_shards", "num_rejected", "num_short")


class DatasetCard(_Record):
    """Everything `dataset.json` holds.

    `num_tokens` counts all ids, end-of-text included: `num_rows * seq_len + len(leftover)`. `files` holds the
    sha256 of `index.json`, of every file of `documents/` and of those that list rejects; the shards' own
    hashes are in `index.json`. `parts` sum up to the counts; `recipe` and `versions` are the first one's.
    """

    format_version: int
    recipe: Recipe
    recipe_sha256: str
    tokenizer: TokenizerIdentity
    seq_len: int
    dtype: str
    num_documents: int
    num_tokens: int
    num_rows: int
    num_shards: int
    num_rejected: int
    num_short: int
    parts: tuple[Part, ...]
    leftover: tuple[int, ...]
    sources: tuple[Source, ...]
    files: dict[str, str]
    versions: dict[str, str]

    @property
    def sha256(self) -> str:
        """The dataset's identity: a hash of everything on the card."""
        return sha256_of(self.model_dump(mode="json"))

    def to_bytes(self) -> bytes:
        """Returns the text of `dataset.json`; its last field is the card's own hash: a changed byte shows."""
        fields = self.model_dump(mode="json")
        return orjson.dumps({**fields, "card_sha256": self.sha256}, option=orjson.OPT_INDENT_2) + b"\n"

    def save(self, dataset: str | os.PathLike[str]) -> None:
        """Writes `dataset.json` aside and renames it: it is there whole or not at all."""
        commit_bytes(Path(dataset) / CARD_FILE, self.to_bytes())

    @classmethod
    def load(cls, dataset: DatasetPath) -> "DatasetCard":
        """Reads the card of a dataset: a directory, or the URI of one in a store.

        Raises:
            FileNotFoundError: There is no card: not a bag-shard dataset, or not finished.
            ValueError: The card can't be read, or was changed after it was written.
        """
        files = DatasetFiles.of(dataset)
        path = files.path(CARD_FILE)
        try:
            data = files.read(CARD_FILE)
        except (FileNotFoundError, NotADirectoryError):
            if files.exists(f"{TRAIN}/{CARD_FILE}"):
                raise FileNotFoundError(
                    f"{path} does not exist: {dataset} holds the two datasets of a holdout. Give "
                    f"{files.path(TRAIN)} or {files.path(VAL)}."
                ) from None
            raise FileNotFoundError(
                f"{path} does not exist: {dataset} is no finished bag-shard dataset. If a `tst prepare` into "
                "it was interrupted, run the same command again to go on."
            ) from None
        return cls.from_bytes(data, path)

    @classmethod
    def from_bytes(cls, data: bytes, name: str = CARD_FILE) -> "DatasetCard":
        """Parses the text of a card; `name` is what error messages call it."""
        try:
            fields = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"{name} is not JSON ({error}): prepare the dataset again.") from None
        if not isinstance(fields, dict) or "format_version" not in fields:
            raise ValueError(f"{name} is not the card of a bag-shard dataset: it has no format_version.")
        version = fields["format_version"]
        if version != FORMAT_VERSION:
            raise ValueError(f"{name} has format_version {version!r}; this tstdata reads {FORMAT_VERSION}.")
        written = fields.pop("card_sha256", None)
        try:
            card = cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ValueError(f"{name}: field {place!r}: {first['msg']}. Prepare the dataset again.") from None
        if card.sha256 != written:
            raise ValueError(
                f"{name} was changed after it was written: its fields do not match its card_sha256."
            )
        return card


def sha256_of(value: Any) -> str:
    """Returns the sha256 of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
