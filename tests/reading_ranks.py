"""Two ranks of one node that read a dataset in step, as training does: apart, so that they import little."""

import contextlib
import logging
import multiprocessing
import os
import resource
import socket
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_RANKS = 2
_PATIENCE_SECONDS = 150


@dataclass
class Job:
    """What the ranks read, and where; `largest_file` in bytes stands for a disk with no more room."""

    dataset: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    batch_size: int = 2
    num_workers: int = 0
    largest_file: int | None = None


@dataclass
class Reading:
    """What a rank has read, batch by batch, and what it said: its error, and what it logged."""

    batches: list[list[list[int]]]
    error: str | None
    logged: str
    seconds: float


def read_on_two_ranks(job: Job) -> list[Reading]:
    """Runs both ranks to their end.

    Raises:
        TimeoutError: One hung.
    """
    context, port, ends = fork_server(), free_port(), []
    for rank in range(_RANKS):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_read, args=(rank, port, job, theirs))
        process.start()
        theirs.close()
        ends.append((process, ours))
    deadline, readings = time.monotonic() + _PATIENCE_SECONDS, []
    try:
        for _, ours in ends:
            if not ours.poll(max(0.0, deadline - time.monotonic())):
                raise TimeoutError(f"a rank has read for {_PATIENCE_SECONDS} seconds and not ended")
            readings.append(ours.recv())
    finally:
        for process, ours in ends:
            ours.close()
            process.join(10)
            process.kill()
            process.join()
    return readings


def fork_server() -> Any:
    """The context of processes that fork off a server which has imported what they need, once for all.

    The tests' own process has threads, and is no good to fork. DataLoaders in these processes are to be told
    to fork their workers, else they start a server of their own.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["reading_ranks", "composer", "tstdata.dataloader"])
    return context


def free_port() -> int:
    """Returns a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _read(rank: int, port: int, job: Job, results: Any) -> None:
    import torch

    from tstdata import build_bag_dataloader

    torch.set_num_threads(1)
    sizes = {"WORLD_SIZE": _RANKS, "LOCAL_WORLD_SIZE": _RANKS, "RANK": rank, "LOCAL_RANK": rank}
    os.environ.update({name: str(value) for name, value in sizes.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), **job.environment)
    if job.largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job.largest_file, job.largest_file))
    # A file, as the workers, which are forked, log into it too.
    descriptor, log = tempfile.mkstemp()
    os.close(descriptor)
    logging.getLogger("tstdata").addHandler(logging.FileHandler(log))
    batches: list[list[list[int]]] = []
    start, error = time.monotonic(), None
    try:
        torch.distributed.init_process_group("gloo", rank=rank, world_size=_RANKS)
        workers = (
            {"num_workers": job.num_workers, "multiprocessing_context": "fork"} if job.num_workers else {}
        )
        loader = build_bag_dataloader(job.dataset, job.batch_size, drop_last=False, **workers).dataloader
        start = time.monotonic()
        for batch in loader:
            batches.append(batch["input_ids"].tolist())
            torch.distributed.barrier()  # As gradients would be summed.
        loader.dataset.close()
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"
    results.send(Reading(batches, error, Path(log).read_text(), time.monotonic() - start))
    os.remove(log)
    with contextlib.suppress(Exception):
        if error is None:
            torch.distributed.destroy_process_group()
