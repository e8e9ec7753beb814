"""Converting: tiktoken ranks as a Hugging Face tokenizer, kept only if its ids are tiktoken's own."""

import itertools
from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from .library_tokenizers import TiktokenTokenizer, as_text
from .torture import torture_texts


def convert_ranks(tokenizer: TiktokenTokenizer) -> Tokenizer | None:
    """Returns ranks as a byte-level BPE tokenizer; None where its ids differ on the torture texts."""
    ranks = tokenizer.ranks
    vocab = tokenizer.get_vocab()
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = _parts(token, ranks, rank)
        if len(parts) == 2:
            merges.append((as_text(parts[0]), as_text(parts[1])))
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


def _parts(token: bytes, ranks: dict[bytes, int], below: int) -> list[bytes]:
    """Merges the bytes of a token by the ranks before its own: the last two parts are its merge."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [ranks.get(left + right, below) for left, right in itertools.pairwise(parts)]
        rank = min(pairs)
        if rank >= below:
            break
        at = pairs.index(rank)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts
