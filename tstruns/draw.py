"""Fresh random values for a weight that is being trained, sharded or not."""

import torch
from torch.distributed.tensor import DTensor, distribute_tensor

__all__ = ["draw_anew"]


@torch.no_grad()
def draw_anew(weight: torch.Tensor, std: float, generator: torch.Generator) -> None:
    """Fill a weight, sharded or not, from a normal distribution of mean 0, alike on every rank."""
    drawn = torch.empty(weight.shape, dtype=torch.float32).normal_(0.0, std, generator=generator)
    drawn = drawn.to(weight.device, weight.dtype)
    if isinstance(weight, DTensor):
        drawn = distribute_tensor(drawn, weight.device_mesh, weight.placements)
    weight.copy_(drawn)
