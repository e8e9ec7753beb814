"""Batches on their way from worker processes: several small ones at once, for a message each costs time."""

import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch._utils import ExceptionWrapper
from torch.utils.data import get_worker_info

from .stored_batch import Batch, BatchForm, StoredBatch

# To send a batch and to ask for the next takes torch some 200 us of both processes, whatever its size; to
# send as many bytes as these takes about as long.
_GROUP_BYTES = 1 << 18
# A worker is this much further ahead, also when it meets a shard that can't be had.
_MOST_BATCHES = 8


@dataclass(frozen=True)
class BatchGroup:
    """Batches that follow each other in what one worker reads; `failure` is what it can't go on for."""

    worker: int
    batches: Sequence[StoredBatch | Batch]
    failure: ExceptionWrapper | None

    def pin_memory(self) -> "BatchGroup":
        """Returns them in pinned memory; the DataLoader's pinning thread asks for it."""
        pinned = [batch.pin_memory() if isinstance(batch, StoredBatch) else batch for batch in self.batches]
        return BatchGroup(self.worker, pinned, self.failure)


def batches_at_once(batch_bytes: int) -> int:
    """Returns how many batches of so many bytes a worker sends at once."""
    return min(_MOST_BATCHES, max(1, _GROUP_BYTES // batch_bytes))


def group_rows(samples: Sequence[Any], worker: int, batch_size: int, form: BatchForm) -> BatchGroup:
    """Makes batches of what a worker has read: rows as they are stored, and, last, what reading failed with.

    Args:
        samples: Mappings with `input_ids`, or, as the last one, an ExceptionWrapper. A batch that it left
            unfinished is none.
        worker: Its number.
        batch_size: Rows of a batch; an epoch's last one may have fewer.
        form: What the batches hold.
    """
    failure = samples[-1] if isinstance(samples[-1], ExceptionWrapper) else None
    stop = len(samples) if failure is None else (len(samples) - 1) // batch_size * batch_size
    batches = [
        StoredBatch(stack_rows(samples[first : min(first + batch_size, stop)]), form)
        for first in range(0, stop, batch_size)
    ]
    return BatchGroup(worker, batches, failure)


def stack_rows(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Returns the ids of rows of one length, [B, T]."""
    return np.stack([row["input_ids"] for row in rows])


def wrap_failure() -> ExceptionWrapper:
    """Returns the exception that is being handled as torch sends it from a worker."""
    info = get_worker_info()
    assert info is not None, "called in a worker"
    return ExceptionWrapper(where=f"in DataLoader worker process {info.id}")


def in_turn(groups: Iterator[BatchGroup], num_workers: int) -> Iterator[StoredBatch | Batch]:
    """Yields workers' batches as they take turns in an epoch: one of each, and again.

    Args:
        groups: One of each worker, and again, but for those that have ended.
        num_workers: How many there are.

    Raises:
        Exception: What a worker's reading failed with, once the batches before it are yielded.
    """
    waiting: list[deque[StoredBatch | Batch]] = [deque() for _ in range(num_workers)]
    failures: list[ExceptionWrapper | None] = [None] * num_workers
    for turn in itertools.cycle(range(num_workers)):
        while not waiting[turn]:
            failure = failures[turn]
            if failure is not None:
                failure.reraise()
            group = next(groups, None)
            if group is None:
                return
            assert group.worker == turn, f"worker {group.worker} is not due, {turn} is"
            waiting[turn].extend(group.batches)
            failures[turn] = group.failure
        yield waiting[turn].popleft()
