"""The fast encoder: fastokens, used only after it gave the reference's ids for the tokenizer at hand."""

import contextlib
import functools
import importlib.metadata
from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from .encoder import ADOPTED, Encoder, HuggingFaceEncoder, Ids, Lengths, reference_name
from .head_start import HeadStart, load_fastokens, panics_as_errors
from .library_tokenizers import LibraryEncoder
from .splitting import splits_first
from .tokenizer import KnownTokenizer, LoadedTokenizer
from .torture import torture_texts

ENCODERS = ("auto", "reference", "fast")


class FastEncoder:
    """`fastokens`, on the calling thread, held to a reference encoder of the same tokenizer."""

    batch_characters = 1 << 22

    def __init__(self, backend: Tokenizer, reference: Encoder, loaded: Any = None) -> None:
        """Takes what a head start has loaded, or loads the tokenizer anew.

        Raises:
            ValueError: fastokens can't load it; it says why.
        """
        self.name = fast_name()
        self.reference = reference
        self._definition = backend
        self._backend = load_fastokens(backend.to_str()) if loaded is None else loaded

    @functools.cached_property
    def splits_first(self) -> bool:
        """See `Encoder`."""
        return splits_first(self._definition)

    def encode_batch(self, texts: Sequence[str]) -> tuple[Ids, Lengths]:
        """See `Encoder`."""
        with panics_as_errors():
            ids, offsets = self._backend.encode_batch_flat(list(texts), False, split_special_tokens=True)
        lengths = np.diff(np.frombuffer(offsets, "<u8")).astype(np.int64)
        return np.frombuffer(ids, "<u4"), lengths


def fast_name() -> str:
    """Returns the fast encoder's name and version."""
    return f"fastokens {importlib.metadata.version('fastokens')}"


def kept_encoders(wish: str, tokenizer: KnownTokenizer) -> list[str]:
    """Returns the names of encoders whose finished tasks a resumed preparation keeps.

    The reference's always; the fast one's, of the installed version, unless the reference was asked for: that
    is what one does after the spot check has found the fast one wrong.
    """
    kept = [ADOPTED, tokenizer.library_name or reference_name()]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        if wish != "reference":
            kept.append(fast_name())
    return kept


def reference_encoder(loaded: LoadedTokenizer) -> Encoder:
    """Returns what is right by definition: the tokenizer, or the library that its files are for."""
    if loaded.library is None:
        return HuggingFaceEncoder(loaded.backend)
    is_converted = loaded.backend is not loaded.library
    return LibraryEncoder(loaded.library, is_converted and splits_first(loaded.backend))


def choose_encoder(
    backend: Tokenizer,
    wish: str,
    sample: Sequence[str],
    reference: Encoder | None = None,
    head_start: HeadStart | None = None,
) -> tuple[Encoder, str | None]:
    """Returns the encoder to use, and a warning if it is not the fast one although that was not ruled out.

    Args:
        backend: The tokenizer, set to encode text as text.
        wish: `auto`: the fast encoder if it proves itself; `reference`; `fast`: as auto, or an error.
        sample: Documents of the corpus that are part of the proof.
        reference: What is right by definition; None: the tokenizer itself.
        head_start: The fast one, already being loaded.

    Raises:
        ValueError: `fast` was wished for, and it can't be used.
    """
    reference = reference or HuggingFaceEncoder(backend)
    if wish == "reference":
        return reference, None
    texts = [*torture_texts(backend), *sample]
    trouble: str | None = None
    wanted: tuple[Ids, Lengths] | Exception
    try:
        wanted = reference.encode_batch(texts)  # While a head start goes on.
    except Exception as error:  # Whatever a tokenizer's library raises on a text that it has no ids for.
        wanted = error
    # A file may mean something else to fastokens than to the reference, whose own text of it is plainer.
    started = head_start.take(backend) if head_start is not None else None
    for loaded in [None] if started is None else [started, None]:
        try:
            fast: Any = FastEncoder(backend, reference, loaded)
        except ValueError as error:
            trouble = f"can't load this tokenizer ({error})"
        except ImportError as error:
            trouble = f"can't be imported ({error})"
        else:
            trouble = find_difference(fast, texts, wanted)
        if trouble is None:
            return fast, None
    if wish == "fast":
        raise ValueError(f"the fast encoder {trouble}. Leave out --encoder fast to use the reference.")
    return reference, (
        f"the fast encoder {trouble}: using the reference, {reference.name}, which is many times slower."
    )


def find_difference(
    fast: Encoder, texts: Sequence[str], wanted: tuple[Ids, Lengths] | Exception
) -> str | None:
    """Returns where the encoder's ids of texts are not the wanted ones, or None.

    `wanted` may be what the reference raised on them: then nothing can be said for the encoder.
    """
    if isinstance(wanted, Exception):
        return f"can't be held to the reference, which fails on the texts of the proof ({wanted})"
    try:
        results = [fast.encode_batch(texts), wanted]
    except Exception as error:
        return f"fails on the texts of the proof ({error})"
    if all(np.array_equal(mine, right) for mine, right in zip(*results, strict=True)):
        return None
    stops = [np.cumsum(lengths) for _, lengths in results]
    for number, text in enumerate(texts):
        found, right = (
            flat[stop[number] - length[number] : stop[number]]
            for (flat, length), stop in zip(results, stops, strict=True)
        )
        if not np.array_equal(found, right):
            return f"{fast.name} gives other ids than the reference for a text such as {text[:40]!r}"
    raise AssertionError("ids differ, so those of some text do")
