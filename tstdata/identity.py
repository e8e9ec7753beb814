"""A tokenizer's identity: what makes two of them the same, whichever library they come from."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from .card import TokenizerIdentity

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


def identify(tokenizer: Any) -> dict[str, Any]:
    """Returns what makes two tokenizers the same: `vocab_size`, `vocab_sha256` and `probe_sha256`.

    Takes a `tokenizers.Tokenizer` or a transformers tokenizer. `vocab_size` is the highest id + 1, since a
    vocabulary may have holes. The vocabulary's hash is over the token -> id map sorted by token, added tokens
    included; the probe's over the ids of a built-in odd text, without special tokens, as uint32.
    """
    vocab: Mapping[str, int] = tokenizer.get_vocab()
    if isinstance(tokenizer, Tokenizer):
        ids = tokenizer.encode(PROBE, add_special_tokens=False).ids
    elif hasattr(tokenizer, "encode_texts"):
        ids = tokenizer.encode_texts([PROBE])[0]
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
