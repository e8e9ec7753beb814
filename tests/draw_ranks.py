"""What one of two ranks does in the test of drawing weights: apart, so that its process imports little."""

import os
from typing import Any

import torch
from torch.distributed.tensor import Shard, distribute_tensor

from tstruns.draw import draw_anew


def draw_on_a_rank(rank: int, port: int, results: Any) -> None:
    """Draw a sharded and a whole weight on one of two ranks, and hand back both, the first gathered."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(rank)
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (2,))
    sharded, whole = distribute_tensor(torch.ones(7, 3), mesh, [Shard(0)]), torch.ones(7, 3)
    for weight in (sharded, whole):
        draw_anew(weight, 0.02, torch.Generator().manual_seed(5))
    results[rank] = (sharded.full_tensor(), whole)
    torch.distributed.destroy_process_group()
