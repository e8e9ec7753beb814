"""Tiny bag data and Composer runs of a few batches, for the tests of the Algorithm."""

from dataclasses import dataclass
from typing import Any

import torch
from composer import Trainer
from composer.loggers import InMemoryLogger
from composer.utils import dist
from tiny_models import BAG_SIZE, SEQ_LEN, VOCABULARY, make_model
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)

GLOBAL_BATCH = 4


class Rows(Dataset):
    """Ordinary rows of `seq_len` tokens, the same for each row number."""

    seq_len = SEQ_LEN

    def __init__(self, num_batches: int, *, seed: int = 1) -> None:
        generator = torch.Generator().manual_seed(seed)
        shape = (num_batches * GLOBAL_BATCH, SEQ_LEN * BAG_SIZE)
        self.ids = torch.randint(0, VOCABULARY, shape, generator=generator)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> torch.Tensor:
        return self.ids[row, : self.seq_len]


class BagRows(Rows):
    """Bag rows for the first `superposition_batches` global batches, then rows: the data half's contract."""

    bag_size = BAG_SIZE

    def __init__(self, num_batches: int, superposition_batches: int, *, served: int | None = None) -> None:
        super().__init__(num_batches)
        self.superposition_batches = superposition_batches
        self.served = superposition_batches if served is None else served
        self.attached: dict[str, Any] | None = None

    def attach_superposition(self, **said: Any) -> None:
        self.attached = said

    def __getitem__(self, row: int) -> torch.Tensor:
        superposed = row // GLOBAL_BATCH < self.served
        return self.ids[row] if superposed else super().__getitem__(row)


def collate(rows: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    ids = torch.stack(rows)
    return {"input_ids": ids, "labels": ids.clone()}


def load(dataset: Dataset, *, num_workers: int = 0, collate_fn: Any = collate) -> DataLoader:
    return DataLoader(
        dataset,
        batch_size=GLOBAL_BATCH // dist.get_world_size(),
        sampler=dist.get_sampler(dataset, shuffle=False),
        collate_fn=collate_fn,
        num_workers=num_workers,
        drop_last=True,
    )


@dataclass
class Run:
    trainer: Trainer
    logger: InMemoryLogger

    def logged(self, name: str) -> list[float]:
        return [float(value) for _, value in self.logger.data.get(name, [])]

    @property
    def losses(self) -> list[float]:
        return self.logged("loss/train/total")

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return self.trainer.state.model.state_dict()


def train(
    algorithm: Any,
    data: Any,
    *,
    num_batches: int = 6,
    model: Any = None,
    fit: bool = True,
    **changes: Any,
) -> Run:
    """Train a tiny model for `num_batches` batches; all else being equal, every call does the same."""
    model = model if model is not None else make_model()
    logger = InMemoryLogger()
    trainer = Trainer(
        model=model,
        train_dataloader=load(data) if isinstance(data, Dataset) else data,
        optimizers=torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.95)),
        algorithms=algorithm,
        loggers=[logger, *changes.pop("loggers", [])],
        **{
            "max_duration": f"{num_batches}ba",
            "seed": 17,
            "device": "cpu",
            "progress_bar": False,
            **changes,
        },
    )
    if fit:
        trainer.fit()
    return Run(trainer, logger)
