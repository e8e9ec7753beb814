"""Contradictions: what can't be true at once on a card, whatever the files say."""

from collections.abc import Iterator

from .card import COUNTS, DatasetCard, sha256_of
from .shard_reading import rows_of_shard


def contradictions(card: DatasetCard) -> Iterator[str]:
    """Yields what can't be true at once on a card."""
    rules = {
        "num_tokens is not num_rows * seq_len + the leftover": card.num_tokens
        == card.num_rows * card.seq_len + len(card.leftover),
        "the leftover fills a row": len(card.leftover) < card.seq_len,
        "the sources' documents are not num_documents": card.num_documents
        == sum(source.num_documents for source in card.sources),
        "the sources' tokens are not num_tokens": card.num_tokens
        == sum(source.num_tokens for source in card.sources),
        "recipe_sha256 is not the recipe's": card.recipe_sha256
        == sha256_of(card.recipe.model_dump(mode="json")),
        "seq_len is not the recipe's": card.seq_len == card.recipe.seq_len,
        "its parts do not sum up to its counts": all(
            getattr(card, name) == sum(getattr(part, name) for part in card.parts) for name in COUNTS
        )
        and len(card.sources) == sum(part.num_sources for part in card.parts),
        "dtype does not fit the vocabulary": card.dtype
        == ("uint16" if card.tokenizer.vocab_size <= 1 << 16 else "uint32"),
        "num_shards does not hold num_rows": rows_of_shard(card.num_shards - 1, card) > 0
        and rows_of_shard(card.num_shards, card) == 0,
    }
    yield from (f"contradicts itself: {what}" for what, holds in rules.items() if not holds)
