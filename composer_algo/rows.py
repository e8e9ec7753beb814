"""What becomes of the L*s-token rows of an ordinary dataloader once superposition has ended.

Letters: B rows, T tokens in a row, S tokens in a bag.
"""

from typing import Any

import torch

from .batch import COUNTS, BatchLayout, check_batch

__all__ = ["RECOVERY_ROWS", "split_rows"]

RECOVERY_ROWS = ("split", "keep")


def split_rows(batch: Any, bag_size: int, layout: BatchLayout | None = None) -> dict[str, Any]:
    """Return a batch whose rows are cut into ``bag_size`` rows each: ``[B, T] -> [B*S, T/S]``, in order.

    Tensors with one value for each token are cut alike; other tensors and lists with one entry for each row
    are repeated, and what is one for the whole batch stays.

    Raises:
        ValueError: T is no multiple of ``bag_size``, or the batch carries positions, which would not start
            again in the new rows.
    """
    layout = layout or BatchLayout()
    check_batch(batch, layout)
    num_rows, length = batch[layout.ids].shape
    if length % bag_size:
        raise ValueError(
            f"the dataloader yielded rows of {length} tokens; recovery_rows 'split' cuts them into bag_size "
            f"{bag_size} rows each. Serve rows whose length is a multiple of {bag_size}."
        )
    if isinstance(batch.get("position_ids"), torch.Tensor):
        raise ValueError(
            "the batch carries position_ids, which would not start again in the rows that recovery_rows "
            "'split' makes. Leave them out of the dataloader's batches."
        )
    split: dict[str, Any] = {}
    for key, value in batch.items():
        if key in COUNTS:
            continue  # a dataloader's counts of each row's tokens: no longer true, and optional
        if isinstance(value, torch.Tensor) and value.shape == (num_rows, length):
            split[key] = value.reshape(num_rows * bag_size, length // bag_size)
        elif isinstance(value, torch.Tensor) and value.ndim > 0:
            split[key] = value.repeat_interleave(bag_size, dim=0)
        elif isinstance(value, list | tuple):
            split[key] = [entry for entry in value for _ in range(bag_size)]
        else:
            split[key] = value
    return split
