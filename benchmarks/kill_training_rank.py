"""The run that kill_training.py kills: a rank that reads in step with the other and keeps checkpoints."""

import json
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handmade_shards import tokens_of_row

RANKS, SEQ_LEN, BAG_SIZE, SWITCH = 2, 64, 2, 50
BATCHES, BETWEEN_CHECKPOINTS = 240, 10


@dataclass(frozen=True)
class Site:
    """Where a run reads from, and its own places; picklable."""

    remote: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    num_workers: int = 1

    @property
    def checkpoint(self) -> Path:
        """The last state and how many batches were read by then."""
        return self.folder / "checkpoint.json"

    def batches_read(self) -> int:
        """How many batches the last checkpoint has."""
        return int(json.loads(self.checkpoint.read_text())["number"]) if self.checkpoint.exists() else 0

    def clear(self) -> None:
        """Forgets the run, its cache included."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)


def read_in_step(rank: int, port: int, site: Site) -> None:
    """What a rank does: reads on from the checkpoint, in step with the other, and writes down the rows."""
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"})
    os.environ.update({"WORLD_SIZE": str(RANKS), "LOCAL_WORLD_SIZE": str(RANKS), "MASTER_PORT": str(port)})
    os.environ.update(site.environment)
    # What a killed run's processes say of the killed one is no news here.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    import torch

    from tstdata import StreamingBagDataset
    from tstdata.dataloader import BagDataLoader

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=RANKS)
    phase = {"bag_size": BAG_SIZE, "superposition_batches": SWITCH}
    dataset = StreamingBagDataset(
        remote=site.remote, local=str(site.folder / "cache"), batch_size=4, shuffle=True, **phase
    )
    dataset.attach_superposition(**phase, vocab_size=None)
    context = {"multiprocessing_context": "fork"} if site.num_workers else {}
    loader, number = BagDataLoader(dataset, num_workers=site.num_workers, **context), 0
    if site.checkpoint.exists():
        saved = json.loads(site.checkpoint.read_text())
        number = saved["number"]
        loader.load_state_dict(saved["state"])
    with open(site.folder / f"rank{rank}.jsonl", "a") as log:
        while number < BATCHES:
            for batch in loader:
                log.write(json.dumps([number, _rows_of(batch["input_ids"].tolist())]) + "\n")
                log.flush()
                torch.distributed.barrier()
                number += 1
                if rank == 0 and number % BETWEEN_CHECKPOINTS == 0:
                    _save(site, number, loader.state_dict())
                time.sleep(0.005)
                if number == BATCHES:
                    break
    torch.distributed.barrier()
    os._exit(0)


def _rows_of(batch: list[list[int]]) -> list[int]:
    """The first stored row of each, after comparing all of their tokens."""
    rows = [ids[0] // SEQ_LEN for ids in batch]
    for row, ids in zip(rows, batch, strict=True):
        stored = range(row, row + len(ids) // SEQ_LEN)
        assert ids == [token for number in stored for token in tokens_of_row(number, SEQ_LEN)]
    return rows


def _save(site: Site, number: int, state: dict[str, Any]) -> None:
    path = site.folder / "checkpoint.tmp"
    path.write_text(json.dumps({"number": number, "state": state}))
    os.replace(path, site.checkpoint)
