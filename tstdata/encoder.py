"""Encoders: texts in, token ids out; one interface, so that faster engines can stand in for the reference."""

import contextlib
import functools
import importlib.metadata
import os
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from .splitting import splits_first

Ids = npt.NDArray[np.uint32]
# The name of the encoder of data that are ids already.
ADOPTED = "adopted"
Lengths = npt.NDArray[np.int64]


class Encoder(Protocol):
    """Encodes text as text: no special tokens added, none recognised.

    `name` is the engine and its version; `reference` what its ids are held to, None for the reference itself;
    `batch_characters` how many characters at once its memory allows.
    """

    name: str
    reference: "Encoder | None"
    batch_characters: int

    @property
    def splits_first(self) -> bool:
        """See `splitting`: long texts may be cut."""

    def encode_batch(self, texts: Sequence[str]) -> tuple[Ids, Lengths]:
        """Returns the ids of all texts one after the other, and the number of ids of each text."""


class HuggingFaceEncoder:
    """The reference: Hugging Face `tokenizers`, on the calling thread."""

    reference: Encoder | None = None
    batch_characters = 1 << 20  # It needs some 100 bytes of memory for each.

    def __init__(self, backend: Tokenizer) -> None:
        self.name = reference_name()
        self._backend = backend

    @functools.cached_property
    def splits_first(self) -> bool:
        """See `Encoder`."""
        return splits_first(self._backend)

    def encode_batch(self, texts: Sequence[str]) -> tuple[Ids, Lengths]:
        """See `Encoder`. The _fast form leaves out offsets into the text, which nobody here needs."""
        with _one_thread():
            encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        ids = [encoding.ids for encoding in encodings]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = np.empty(int(lengths.sum()), np.uint32)
        start = 0
        for one in ids:
            flat[start : start + len(one)] = one
            start += len(one)
        return flat, lengths


def reference_name() -> str:
    """Returns the reference's name and version."""
    return f"tokenizers {importlib.metadata.version('tokenizers')}"


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keeps tokenizers to one thread: workers are what uses the cores. It reads the variable at each call."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
