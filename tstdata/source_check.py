"""The source check: documents of a dataset read again from the corpus, encoded again, and compared."""

from collections.abc import Iterator

import numpy as np

from .card import DatasetCard
from .dataset_files import DatasetFiles
from .formats import place_name
from .origin import OriginError, encode_again, sampled_records, stored_encoder
from .progress import Progress
from .shard_reading import read_tokens

# The same sample each time: a failed check can be looked into.
_SEED = 0


def check_sources(
    files: DatasetFiles, card: DatasetCard, number: int, progress: bool
) -> Iterator[tuple[str, str]]:
    """Yields (source, what is wrong) for each of `number` sampled documents that is not as it was."""
    records = sampled_records(files, card, number, _SEED)
    encoder = stored_encoder(files, card)
    with Progress("encoding again", len(records), progress, " documents") as bar:
        for source in dict.fromkeys(record.source for record in records):
            wanted = [record for record in records if record.source == source]
            stored = card.sources[source]
            try:
                for record, ids in encode_again(card, wanted, encoder):
                    start = record.first_token
                    there = read_tokens(files, card, start, start + record.num_tokens)
                    bar.advance(1)
                    if not np.array_equal(ids, there):
                        place = f"{place_name(stored.format)} {record.place}"
                        yield stored.path, f"{place} gives other ids now than are in the dataset: it changed"
            except OriginError as error:
                yield stored.path, str(error)
