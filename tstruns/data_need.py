"""Whether a bag-shard dataset has what a run reads: without repeats, or over how many epochs."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tstdata.card import DatasetCard
from tstdata.plan import SuperpositionPlan

from .run_size import RunSize

__all__ = ["DataNeed", "data_need"]


@dataclass(frozen=True)
class DataNeed:
    """What the dataset holds against what the run reads.

    ``epochs``: begun by the run, 1 when nothing repeats. ``superposition_epochs``: of these, begun in the
    superposition phase. ``reads``: rows read divided by rows held. ``enough``: no row is read twice.
    """

    dataset: str
    num_rows: int
    num_bag_rows: int
    num_tokens: int
    vocab_size: int
    dtype: str
    rows_needed: int
    reads: float
    epochs: int
    superposition_epochs: int
    enough: bool


def data_need(dataset: str | os.PathLike[str], size: RunSize, model_vocab_size: int) -> DataNeed:
    """Return how a dataset on this machine's file system meets a run.

    Raises:
        FileNotFoundError: it is no finished bag-shard dataset.
        ValueError: its rows are not L tokens, its ids exceed the model's vocabulary, or it cannot fill one
        batch.
    """
    card = DatasetCard.load(dataset)
    if card.seq_len != size.seq_len:
        raise ValueError(
            f"{dataset} has rows of {card.seq_len} tokens and the plan is for --seq-len {size.seq_len}; they "
            f"must be the same. Plan with --seq-len {card.seq_len}, or prepare the data again with tst "
            f"prepare --seq-len {size.seq_len}."
        )
    if card.tokenizer.vocab_size > model_vocab_size:
        raise ValueError(
            f"{dataset} was made with a tokenizer of {card.tokenizer.vocab_size} ids and the model has "
            f"vocab_size {model_vocab_size}; an id beyond it has no embedding. Give the model vocab_size "
            f"{card.tokenizer.vocab_size}, or prepare the data with the model's tokenizer."
        )
    shards = json.loads((Path(dataset) / "index.json").read_text())["shards"]
    superposed = size.superposition_batches if size.growth > 1 else 0
    plan = SuperpositionPlan.of_shards(
        [shard["samples"] for shard in shards], size.growth, superposed, size.global_batch_size
    )
    epochs = _epochs(plan, size.steps)
    rows_needed = sum(phase.dataset_rows for phase in size.phases(1))
    return DataNeed(
        dataset=str(dataset),
        num_rows=plan.num_rows,
        num_bag_rows=plan.num_bag_rows,
        num_tokens=card.num_tokens,
        vocab_size=card.tokenizer.vocab_size,
        dtype=card.dtype,
        rows_needed=rows_needed,
        reads=rows_needed / plan.num_rows,
        epochs=epochs,
        superposition_epochs=plan.switch_epoch + 1 if superposed else 0,
        enough=epochs == 1,
    )


def _epochs(plan: SuperpositionPlan, steps: int) -> int:
    """Return how many epochs a run of ``steps`` global batches begins."""
    if steps <= plan.bag_batches_per_epoch * plan.switch_epoch:
        return -(-steps // plan.bag_batches_per_epoch)
    switch = plan.epoch(plan.switch_epoch)
    rest = steps - switch.first_batch - switch.num_batches
    if rest <= 0:
        return plan.switch_epoch + 1
    return plan.switch_epoch + 1 + -(-rest // plan.epoch(plan.switch_epoch + 1).num_batches)
