"""StreamingBagDatasets over four handmade shards, and which rows their samples are."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from handmade_shards import SEQ_LEN, tokens_of_row

from tstdata import StreamingBagDataset

ROWS = (23, 17, 9, 30)
BAG_SIZE, BATCH_SIZE = 3, 4
# 25 bag rows an epoch are 6 batches of 4: phase (i) ends in the second epoch.
SWITCH = 8


@contextlib.contextmanager
def built_datasets(shards: Path, folder: Path) -> Iterator[Callable[..., StreamingBagDataset]]:
    """Gives a function that builds a dataset into a fresh cache, attached unless told otherwise."""
    built: list[StreamingBagDataset] = []

    def build(attach: bool = True, **changes: Any) -> StreamingBagDataset:
        arguments = {
            "remote": str(shards),
            "local": str(folder / f"cache{len(built)}"),
            "bag_size": BAG_SIZE,
            "superposition_batches": SWITCH,
            "batch_size": BATCH_SIZE,
            "shuffle": True,
        }
        dataset = StreamingBagDataset(**{**arguments, **changes})
        built.append(dataset)
        if attach:
            dataset.attach_superposition(
                bag_size=dataset.bag_size,
                superposition_batches=dataset.superposition_batches,
                vocab_size=None,
            )
        return dataset

    try:
        yield build
    finally:
        for dataset in built:
            dataset.close()


def rows_in(sample: dict[str, Any]) -> list[int]:
    """The stored rows that a sample is made of, after checking that it is exactly them."""
    ids = sample["input_ids"]
    assert ids.dtype == np.int64
    rows: list[int] = (ids[::SEQ_LEN] // SEQ_LEN).tolist()
    assert ids.tolist() == [token for row in rows for token in tokens_of_row(row)]
    assert rows == list(range(rows[0], rows[0] + len(rows)))
    return rows


def read(dataset: StreamingBagDataset, num_epochs: int = 1) -> list[list[list[int]]]:
    """Epochs of samples, each a list of its rows."""
    return [[rows_in(sample) for sample in dataset] for _ in range(num_epochs)]


def tail(epochs: list[list[list[int]]], epoch: int, batch: int) -> list[list[list[int]]]:
    """What is left of `epochs` from a global batch on."""
    return [epochs[epoch][batch * BATCH_SIZE :], *epochs[epoch + 1 :]]
