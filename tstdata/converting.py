"""Converting: tiktoken ranks as a Hugging Face tokenizer, for a faster engine to load.

tiktoken joins any two neighbours that together are a token, those of the lowest rank first, the leftmost of
them. Merges say the same, but where neighbours that overlap would be the same token: there the one that comes
first in the list goes first. So what is converted is never taken for tiktoken: it is held to its ids.
"""

from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from .library_tokenizers import TiktokenTokenizer, as_text
from .torture import torture_texts


def convert_ranks(tokenizer: TiktokenTokenizer) -> Tokenizer | None:
    """Returns ranks as a byte-level BPE tokenizer; None where its ids differ on the torture texts."""
    ranks = tokenizer.ranks
    vocab = tokenizer.get_vocab()
    merges = [
        (as_text(token[:cut]), as_text(token[cut:]))
        for token in sorted(ranks, key=lambda token: ranks[token])
        for cut in _cuts(token, ranks)
    ]
    try:
        # A word that is a token is that token, whatever merges lead to: so tiktoken does it.
        backend = Tokenizer(models.BPE(vocab, merges, ignore_merges=True))
        split = pre_tokenizers.Split(Regex(tokenizer.pattern), "isolated")
    except Exception:  # The library raises bare Exception on patterns and merges it can't take.
        return None
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in tokenizer.special])
    backend.encode_special_tokens = True
    return backend if same_ids(tokenizer, backend, torture_texts(backend)) else None


def same_ids(tokenizer: TiktokenTokenizer, backend: Tokenizer, texts: Sequence[str]) -> bool:
    """Tells whether both give the same ids for all of these texts."""
    found = backend.encode_batch(list(texts), add_special_tokens=False)
    return [encoding.ids for encoding in found] == tokenizer.encode_texts(texts)


def _cuts(token: bytes, ranks: dict[bytes, int]) -> list[int]:
    """Returns where a token falls into two others, ordered by the ranks of these."""
    cuts = [cut for cut in range(1, len(token)) if token[:cut] in ranks and token[cut:] in ranks]
    return sorted(cuts, key=lambda cut: (ranks[token[:cut]], ranks[token[cut:]]))
