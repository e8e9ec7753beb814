"""Bag dataloaders over four handmade shards, and what their batches are told apart by."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from composer.core import DataSpec

from tstdata import StreamingBagDataset, build_bag_dataloader
from tstdata.dataloader import BagDataLoader

ROWS = (23, 17, 9, 30)
BAG_SIZE, BATCH_SIZE, SWITCH = 3, 4, 8
# Batches of bag rows and of rows in each epoch: 25 bag rows make 6 batches, so the second has the switch.
EPOCHS = ((6, 0), (2, 13), (0, 19), (0, 19))

Fingerprint = tuple[int, list[int]]


@contextlib.contextmanager
def built_loaders(shards: Path, folder: Path) -> Iterator[Callable[..., DataSpec]]:
    """Gives a function that builds a loader over a fresh cache, its dataset attached unless told not to."""
    built: list[StreamingBagDataset] = []

    def build(attach: bool = True, dataset: dict[str, Any] | None = None, **changes: Any) -> DataSpec:
        arguments = {
            "remote": str(shards),
            "local": str(folder / f"cache{len(built)}"),
            "bag_size": BAG_SIZE,
            "superposition_batches": SWITCH,
            "shuffle": True,
            **(dataset or {}),
        }
        spec = build_bag_dataloader(arguments, BATCH_SIZE, **changes)
        assert isinstance(spec, DataSpec)
        loader = spec.dataloader
        assert isinstance(loader, BagDataLoader)
        built.append(loader.dataset)
        if attach:
            attach_to(loader.dataset)
        return spec

    try:
        yield build
    finally:
        for dataset in built:
            dataset.close()


def attach_to(dataset: StreamingBagDataset) -> None:
    """Lets bag rows out, as an Algorithm does."""
    dataset.attach_superposition(
        bag_size=dataset.bag_size, superposition_batches=dataset.superposition_batches, vocab_size=None
    )


def fingerprint(batch: dict[str, Any]) -> Fingerprint:
    """How wide the batch is, and the first token of every row."""
    return batch["input_ids"].shape[1], batch["input_ids"][:, 0].tolist()


def read(loader: BagDataLoader, num_epochs: int) -> list[list[Fingerprint]]:
    """Epochs of batches."""
    return [[fingerprint(batch) for batch in loader] for _ in range(num_epochs)]
