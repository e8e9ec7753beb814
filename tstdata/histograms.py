"""Histograms: how many tokens and how many characters the documents of a dataset have."""

from dataclasses import dataclass

import numpy as np

from .card import DatasetCard
from .dataset_files import DatasetFiles
from .inspection import stored_tokenizer
from .origin import DocumentRecord, record_batches
from .shard_reading import read_tokens

# The first so many documents are counted, and so many of them decoded, each no further than so many tokens.
_MOST_DOCUMENTS = 10_000_000
_DECODED_DOCUMENTS = 256
_DECODED_TOKENS = 1 << 14


@dataclass(frozen=True)
class Histogram:
    """Counts by powers of two: `counts[i]` documents have a size in `edges[i]` <= size < `edges[i + 1]`."""

    of: str
    num_documents: int
    edges: list[int]
    counts: list[int]

    def lines(self, width: int = 40) -> list[str]:
        """Returns it as text, a bar of `width` for the fullest bin."""
        most = max(self.counts, default=0) or 1
        lines = [f"{self.of} a document ({self.num_documents:,} documents)"]
        for low, high, count in zip(self.edges, self.edges[1:], self.counts, strict=False):
            size = f"{low:,}" if high == low + 1 else f"{low:,}-{high - 1:,}"
            bar = "#" * -(-count * width // most)
            lines.append(f"  {size:>21}  {count:>13,}  {bar}".rstrip())
        return lines


def document_histograms(dataset: DatasetFiles, card: DatasetCard) -> list[Histogram]:
    """Returns the histograms of tokens, end-of-text included, and of characters of sampled documents.

    Raises:
        ValueError: A shard is damaged.
        OSError: A file can't be read.
    """
    number = min(card.num_documents, _MOST_DOCUMENTS)
    step = max(1, number // _DECODED_DOCUMENTS)
    tokens: list[np.ndarray] = []
    sample: list[DocumentRecord] = []
    at = 0
    for batch in record_batches(dataset, card):
        tokens.append(batch["num_tokens"].to_numpy())
        wanted = np.arange(-at % step, len(batch), step)
        sample += [DocumentRecord(**record) for record in batch.take(wanted).to_pylist()]
        at += len(batch)
        if at >= number:
            break
    characters = _characters(dataset, card, sample[:_DECODED_DOCUMENTS])
    counted = np.concatenate(tokens) if tokens else np.zeros(0, np.int64)
    return [_histogram("tokens", counted), _histogram("characters", characters)]


def _characters(dataset: DatasetFiles, card: DatasetCard, sample: list[DocumentRecord]) -> np.ndarray:
    """Counts characters; of a long document, those of its beginning, scaled up."""
    backend = stored_tokenizer(dataset, card).backend
    lengths = []
    for record in sample:
        read = min(record.num_tokens - 1, _DECODED_TOKENS)
        ids = read_tokens(dataset, card, record.first_token, record.first_token + read)
        text = backend.decode(ids.tolist(), skip_special_tokens=False)
        lengths.append(round(len(text) * (record.num_tokens - 1) / max(1, read)))
    return np.array(lengths, np.int64)


def _histogram(of: str, sizes: np.ndarray) -> Histogram:
    # 0 has a bin of its own, then 1, 2-3, 4-7, ...
    bins = np.where(sizes > 0, np.floor(np.log2(np.maximum(sizes, 1))).astype(np.int64) + 1, 0)
    counts = np.bincount(bins).tolist()
    edges = [0, *(1 << power for power in range(len(counts)))]
    first = next((number for number, count in enumerate(counts) if count), 0)
    return Histogram(of, len(sizes), edges[first:], counts[first:])
