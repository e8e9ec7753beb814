"""The litData arms of reading.py: tokens in its own format, and its MDS reader over packed shards."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

Arm = Callable[[], Iterator[torch.Tensor]]


def write_tokens(folder: Path, ids: Any) -> None:
    """Writes rows of ids in litData's own format."""
    from litdata.streaming.cache import Cache
    from litdata.streaming.item_loader import TokensLoader

    cache = Cache(str(folder), chunk_bytes=1 << 26, item_loader=TokensLoader(block_size=ids.shape[1]))
    for number, row in enumerate(ids):
        cache[number] = torch.from_numpy(row)
    cache.done()
    cache.merge()


def own_format(folder: Path, width: int) -> Any:
    """Returns litData's dataset over tokens in its own format."""
    import litdata
    from litdata.streaming.item_loader import TokensLoader

    return litdata.StreamingDataset(
        str(folder), shuffle=True, drop_last=True, item_loader=TokensLoader(block_size=width)
    )


def mds_reader(folder: Path) -> Any:
    """Returns litData's dataset over MDS shards packed by zstd, which it unpacks where they lie.

    It knows no `ndarray:uint16:L`: what that is, is told it here.
    """
    import litdata
    from litdata.streaming.item_loader import PyTreeLoader
    from litdata.streaming.serializers import Serializer

    class Ids(Serializer):
        def setup(self, encoding: str) -> None:
            self.dtype = np.dtype(encoding.split(":")[1])

        def serialize(self, item: Any) -> Any:
            raise NotImplementedError

        def deserialize(self, data: bytes) -> Any:
            return np.frombuffer(data, self.dtype)

        def can_serialize(self, item: Any) -> bool:
            return False

    class Rows(PyTreeLoader):
        def _data_format_to_key(self, encoding: str) -> str:
            return encoding.partition(":")[0]

    return litdata.StreamingDataset(
        str(folder), shuffle=True, drop_last=True, serializers={"ndarray": Ids()}, item_loader=Rows()
    )


def to_batch(samples: list[Any]) -> torch.Tensor:
    """Stacks samples of either to int64."""
    rows = [sample["tokens"] if isinstance(sample, dict) else sample.numpy() for sample in samples]
    return torch.from_numpy(np.stack(rows).astype(np.int64))


def loader_arm(dataset: Any, workers: int, batch_size: int) -> Arm:
    """The loader of litData."""
    import litdata

    def read() -> Iterator[torch.Tensor]:
        while True:
            yield from litdata.StreamingDataLoader(
                dataset, batch_size=batch_size, num_workers=workers, collate_fn=to_batch, drop_last=True
            )

    return read


def dataset_arm(dataset: Any, batch_size: int) -> Arm:
    """Its dataset iterated in this process."""

    def read() -> Iterator[torch.Tensor]:
        while True:
            samples = iter(dataset)
            for first in samples:
                yield to_batch([first, *(next(samples) for _ in range(batch_size - 1))])

    return read


def arms(folder: Path, kind: str, width: int, workers: list[int], batch_size: int) -> dict[str, Arm]:
    """Returns litData's arms by name; the folder holds `litdata-KIND` and the packed shards `packed-KIND`."""
    warnings.simplefilter("ignore")
    found = {
        f"litData, {kind}": dataset_arm(own_format(folder / f"litdata-{kind}", width), batch_size),
        f"litData MDS, {kind}": dataset_arm(mds_reader(folder / f"packed-{kind}"), batch_size),
    }
    for number in workers:
        dataset = own_format(folder / f"litdata-{kind}", width)
        found[f"litData DL {number} workers, {kind}"] = loader_arm(dataset, number, batch_size)
    return found
