"""What a stored dataset says of itself: its card, its name in checkpoints, and the width of its rows."""

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .card import CARD_FILE, DatasetCard
from .downloading import is_missing
from .identity import check_same_tokenizer
from .rows import row_width
from .shards import INDEX_FILE

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredDataset:
    """One dataset as found: `sha256` is the card's, or, without a card, that of index.json.

    Shards from number `num_shards` on are not part of it: an append was interrupted before its card.
    """

    where: str
    card: DatasetCard | None
    sha256: str
    seq_len: int
    num_shards: int

    def rows_in(self, seq_len: int) -> int:
        """Returns how many stored rows make a row of `seq_len` tokens.

        Raises:
            ValueError: No whole number of them does.
        """
        if seq_len % self.seq_len:
            raise ValueError(
                f"its rows have {self.seq_len} tokens and seq_len is {seq_len}; it is a multiple of theirs: "
                f"{self.seq_len}, {2 * self.seq_len}, {3 * self.seq_len} ... Or prepare the data again with: "
                f"tst prepare --seq-len {seq_len}"
            )
        return seq_len // self.seq_len

    def check_model(self, vocab_size: int | None, tokenizer: Any = None) -> None:
        """Refuses a model that lacks ids of the card's tokenizer, and a tokenizer unlike it.

        Without a card there is nothing to compare.

        Raises:
            ValueError: Naming what differs.
        """
        if self.card is None:
            return
        num_ids = self.card.tokenizer.vocab_size
        if vocab_size is not None and num_ids > vocab_size:
            raise ValueError(
                f"{self.where} was prepared with a tokenizer of {num_ids} ids and the model has "
                f"{vocab_size}: the ids beyond have no embedding. Set the model's vocab_size to {num_ids} "
                "or more, or prepare the data with the model's own tokenizer."
            )
        if tokenizer is not None:
            check_same_tokenizer(self.card.tokenizer, tokenizer)


def read_stored(stream: Any, shards: Sequence[Any], rank: int) -> StoredDataset:
    """Reads card and row width of a stream's dataset, fetching the card if there is one.

    Args:
        stream: The `streaming.Stream`, its index.json already local.
        shards: The shard readers that it made of it.
        rank: This process's number: ranks may fetch at the same time.

    Raises:
        ValueError: These are no bag shards, or card and index are of different datasets.
    """
    where = os.path.join(stream.remote or stream.local, stream.split)
    root = Path(stream.local, stream.split)
    if not (root / CARD_FILE).is_file() and stream.remote:
        _fetch_card(stream, root, rank)
    card = DatasetCard.load(root) if (root / CARD_FILE).is_file() else None
    num_shards = card.num_shards if card else len(shards)
    seq_len, num_rows = row_width(shards, where), sum(len(shard) for shard in shards[:num_shards])
    if card is not None and (card.seq_len, card.num_rows) != (seq_len, num_rows):
        raise ValueError(
            f"{where}: {CARD_FILE} promises {card.num_rows} rows of {card.seq_len} tokens and {INDEX_FILE} "
            f"has {num_rows} of {seq_len}: they are of different datasets. Give a fresh `local` directory, "
            "or prepare the dataset again."
        )
    sha256 = card.sha256 if card else hashlib.sha256((root / INDEX_FILE).read_bytes()).hexdigest()
    return StoredDataset(where, card, sha256, seq_len, num_shards)


def _fetch_card(stream: Any, root: Path, rank: int) -> None:
    if "://" not in stream.remote and not Path(stream.remote, stream.split, CARD_FILE).is_file():
        return
    try:
        # Each rank under a name of its own, then renamed: no rank ever sees half a card, and none waits for
        # another.
        os.replace(stream._download_file(CARD_FILE, f"{CARD_FILE}.{rank}"), root / CARD_FILE)
    except Exception as error:
        if not is_missing(error):
            raise OSError(stream.refusal(CARD_FILE, error)) from error
        logger.info("%s has no %s: going on without a card.", stream.remote, CARD_FILE)
