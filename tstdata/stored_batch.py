"""A batch on its way from a worker process: ids as they are stored, widened where they are used."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class BatchForm:
    """What a batch holds beside `input_ids` and `labels`.

    Args:
        end_id: The id that ends a document; None: not known, and neither of these can be had.
        sequence_ids: Whether there is `sequence_id`: how many documents end in the row before a token.
        position_ids: Whether there is `position_ids`: a token's place in its document, or in the row if the
            document began before it.
    """

    end_id: int | None = None
    sequence_ids: bool = False
    position_ids: bool = False

    def batch(self, ids: npt.NDArray[Any]) -> Batch:
        """Returns ids `[B, T]` of any type as int64 tensors; labels are an unshifted copy."""
        input_ids = torch.from_numpy(ids.astype(np.int64, copy=False))
        batch = {"input_ids": input_ids, "labels": input_ids.clone()}
        if self.end_id is not None:
            ends = input_ids.eq(self.end_id)
            if self.sequence_ids:
                batch["sequence_id"] = ends.cumsum(1) - ends.long()
            if self.position_ids:
                batch["position_ids"] = _places(ends)
        return batch


def _places(ends_BT: torch.Tensor) -> torch.Tensor:
    """Returns how far each token is from its row's last document end before it, or from the row's begin."""
    places = torch.arange(ends_BT.shape[1])
    begins_BT = torch.zeros_like(ends_BT, dtype=torch.int64)
    begins_BT[:, 1:] = torch.where(ends_BT[:, :-1], places[1:], 0)
    return places - begins_BT.cummax(1).values


@dataclass(frozen=True)
class StoredBatch:
    """Ids `[B, T]` as stored, which a worker sends.

    They go through the worker's pipe: a tensor would go through shared memory of its own, and to make and
    map that takes longer than to copy the ids, which are a fourth or half of what they are widened to.
    """

    ids: npt.NDArray[Any]
    form: BatchForm

    def widen(self) -> Batch:
        """Returns the batch."""
        return self.form.batch(self.ids)

    def pin_memory(self) -> Batch:
        """Returns the batch in pinned memory; the DataLoader's pinning thread asks for it."""
        return {name: tensor.pin_memory() for name, tensor in self.widen().items()}
