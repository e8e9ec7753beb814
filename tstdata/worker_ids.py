"""What one worker reads of an epoch: its sample ids, worked out as they are asked for."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, overload

from .mixing import DrawnOrder
from .order import EpochOrder

# How many ids of all ranks are worked out at once, about, and how many such stretches a worker keeps: three
# threads read its ids, each at a place of its own.
_IDS_AT_ONCE = 1 << 16
_KEPT = 4


@dataclass(frozen=True)
class Seat:
    """Which worker it is, of how many: the numbers of Streaming's `World`."""

    node: int = 0
    num_nodes: int = 1
    rank_of_node: int = 0
    ranks_per_node: int = 1
    worker_of_rank: int = 0
    workers_per_rank: int = 1

    @classmethod
    def in_world(cls, world: Any) -> "Seat":
        """Returns the seat that a `streaming.base.world.World` tells of."""
        return cls(**{field.name: getattr(world, field.name) for field in fields(cls)})


class WorkerIds(Sequence[int]):
    """A worker's sample ids of an epoch, or of the rest of it; -1 fills its last batch.

    Nodes take turns inside a global batch, as canonical nodes do, then ranks; a rank's workers take turns by
    batch, as the torch DataLoader reads them.

    Args:
        order: The epoch's.
        done: Global batches of it that are not to be read again.
        seat: Which worker this is.
    """

    def __init__(self, order: EpochOrder | DrawnOrder, done: int, seat: Seat) -> None:
        size, num_ranks = order.plan.global_batch_size, seat.num_nodes * seat.ranks_per_node
        assert size % num_ranks == 0, f"{size} rows do not divide over {num_ranks} ranks"
        self._order, self._done, self._seat = order, done, seat
        # A rank's rows are every num_ranks-th of a global batch.
        self._columns = slice(seat.rank_of_node * seat.num_nodes + seat.node, None, num_ranks)
        num_batches = -(-(order.plan.num_batches - done) // seat.workers_per_rank)
        self._length = num_batches * (size // num_ranks)
        self._batches_at_once = max(1, _IDS_AT_ONCE // (size * seat.workers_per_rank))
        self._ids_at_once = self._batches_at_once * (size // num_ranks)
        self._kept: dict[int, list[int]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        if isinstance(index, slice):
            return self._stretch(*index.indices(self._length))
        if not 0 <= index < self._length:
            raise IndexError(f"id {index} of {self._length}")
        number, at = divmod(index, self._ids_at_once)
        # Without the lock: a thread that has its ids must not wait for one that needs others.
        return (self._kept.get(number) or self._work_out(number))[at]

    def _stretch(self, start: int, stop: int, step: int) -> list[int]:
        assert step == 1, "ids are read in order"
        found: list[int] = []
        while start < stop:
            number, at = divmod(start, self._ids_at_once)
            ids = (self._kept.get(number) or self._work_out(number))[at : at + stop - start]
            found += ids
            start += len(ids)
        return found

    def _work_out(self, number: int) -> list[int]:
        with self._lock:
            if number not in self._kept:
                workers = self._seat.workers_per_rank
                start = self._done + number * self._batches_at_once * workers
                batches = self._order.batches(start, start + self._batches_at_once * workers)
                mine = batches[self._seat.worker_of_rank :: workers, self._columns]
                while len(self._kept) >= _KEPT:
                    del self._kept[next(iter(self._kept))]
                self._kept[number] = mine.ravel().tolist()
            return self._kept[number]
