"""Adopting: what stands in for the tokenizer and the encoder when the data are ids already."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .adoption import Adoption, find_adopted
from .card import TokenizerIdentity
from .encoder import ADOPTED, Encoder, Ids, Lengths
from .engine import EncoderSpec
from .head_start import HeadStart
from .source_file import SourceFile
from .tokenizer import IdsOnly, LoadedTokenizer, load_tokenizer


class AdoptedIds:
    """The encoder of adopted data: its documents are ids already."""

    name = ADOPTED
    reference: Encoder | None = None
    batch_characters = 1 << 20  # Ids.
    splits_first = False

    def encode_batch(self, texts: Sequence[object]) -> tuple[Ids, Lengths]:
        """Returns the ids of all documents one after the other, and their lengths."""
        arrays = [np.asarray(ids, np.uint32) for ids in texts]
        lengths = np.array([len(ids) for ids in arrays], np.int64)
        return np.concatenate(arrays) if arrays else np.zeros(0, np.uint32), lengths


@dataclass(frozen=True)
class AdoptSpec(EncoderSpec):
    """What every process makes its stand-in encoder from; `path` is empty when no tokenizer was given."""

    eos_id: int | None = None
    vocab_size: int | None = None

    def load(self, head_start: HeadStart | None = None) -> LoadedTokenizer:
        """Loads the tokenizer, or takes what was stated for it; it has no fast encoder.

        Raises:
            ValueError: Something needed is not stated, or contradicts the tokenizer.
        """
        if self.path:
            loaded = load_tokenizer(self.path, self.eos_token)
            for name, stated in (("eos_id", self.eos_id), ("vocab_size", self.vocab_size)):
                known = getattr(loaded.identity, name)
                if stated is not None and stated != known:
                    raise ValueError(
                        f"{name} is stated as {stated}, and {self.path} has {known}: leave it out."
                    )
            return loaded
        if self.eos_id is None or self.vocab_size is None:
            raise ValueError(
                "without a tokenizer the data's end-of-text id and number of ids are not known, and never "
                "guessed: give --tokenizer, or --eos-id and --vocab-size."
            )
        if not 0 <= self.eos_id < self.vocab_size:
            raise ValueError(f"eos_id is {self.eos_id}; the vocabulary's ids are 0 to {self.vocab_size - 1}.")
        identity = TokenizerIdentity(
            files={},
            vocab_size=self.vocab_size,
            eos_token="",
            eos_id=self.eos_id,
            bos_token=None,
            bos_id=None,
            vocab_sha256="",
            probe_sha256="",
        )
        return LoadedTokenizer(IdsOnly(), {}, identity)

    def choose(self, loaded: LoadedTokenizer) -> tuple[Encoder, str | None]:
        """Returns the stand-in."""
        return AdoptedIds(), None


def adopted_files(
    sources: Sequence[str], kind: str, dtype: str | None, identity: TokenizerIdentity
) -> tuple[SourceFile, ...]:
    """Returns adopted sources as files that know what is stated of them; see `find_adopted`."""
    adoption = Adoption(kind, identity.eos_id, identity.vocab_size, dtype)
    return tuple(
        SourceFile(path, kind, None, status.size, status.modified, adoption=adoption)
        for path, status in find_adopted(sources, kind, dtype)
    )
