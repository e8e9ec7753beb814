"""Kills a reading run of two ranks and their workers with kill -9 at random moments, and goes on each time.

  python benchmarks/kill_training.py --kills 50          (--s3: from a SeaweedFS started for it)

Two gloo ranks with a DataLoader worker each read bag rows, then rows, over several epochs, in step, and keep
the loader's state in a checkpoint every few batches. A moment is drawn over the whole length of an
undisturbed run, its start included; the victim is a rank or a worker. The next run starts at once, on the
same cache, from the last checkpoint. Every batch that any run read on either rank is compared with the
undisturbed run's. When one comes through, the next begins with no checkpoint and an empty cache. Exit 1 if a
row differs.
"""

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from handmade_shards import write_shards
from kill_training_rank import BATCHES, RANKS, SEQ_LEN, Site, read_in_step
from reading_ranks import fork_server, free_port

# What is left of a run whose rank or worker was killed ends by itself, or is ended by who started it.
_GRACE_SECONDS, _PATIENCE_SECONDS = 5, 60


@dataclass
class Kill:
    """One kill: who, at which second of its run, and from which batch to which that run had come."""

    victim: str
    second: float
    begun_at: int
    come_to: int


@dataclass
class Table:
    """The kills, and how many batches of how many were the undisturbed run's."""

    kills: list[Kill] = field(default_factory=list)
    compared: int = 0
    equal: int = 0
    finished: int = 0
    resumed: int = 0

    def text(self) -> str:
        """Returns the table."""
        lines = [f"{'kill':>4}  {'victim':<8} {'second':>7}  from batch  to batch"]
        for number, kill in enumerate(self.kills, 1):
            lines.append(
                f"{number:>4}  {kill.victim:<8} {kill.second:>7.2f}  {kill.begun_at:>10}  {kill.come_to:>8}"
            )
        ranks = sum(kill.victim == "rank" for kill in self.kills)
        return "\n".join(
            [
                *lines,
                "",
                f"kills                    {len(self.kills)} ({ranks} of ranks)",
                f"runs that were resumed   {self.resumed}",
                f"runs that came through   {self.finished}, of {BATCHES} batches each",
                f"a rank's batches equal   {self.equal} of {self.compared}",
            ]
        )


def main(argv: list[str] | None = None) -> int:
    """Runs the kills and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--s3", action="store_true")
    args = parser.parse_args(argv)
    with contextlib.ExitStack() as stack:
        folder, store = Path(stack.enter_context(tempfile.TemporaryDirectory())), None
        if args.s3:
            from object_stores import seaweedfs

            (folder / "server").mkdir()
            store = stack.enter_context(seaweedfs(folder / "server"))
        begin = time.monotonic()
        table = kill_often(folder, args.kills, random.Random(args.seed), store)
    print(f"{table.text()}\nseconds                  {time.monotonic() - begin:.0f}")
    return 0 if table.equal == table.compared > 0 else 1


def kill_often(folder: Path, kills: int, draw: random.Random, store: Any = None) -> Table:
    """Kills runs until there were so many kills and the last run came through."""
    shards, environment = write_shards(folder / "shards", (150, 131, 150, 97, 150, 60), SEQ_LEN), {}
    remote = str(shards)
    if store is not None:
        store.upload(shards, "killed")
        remote, environment = store.uri("killed"), store.environment
    whole = Site(remote, folder / "whole", environment, num_workers=0)
    whole.clear()
    _end(_start(whole))
    expected = dict(_batches(whole))
    assert len(expected) == RANKS * BATCHES
    site, table = Site(remote, folder / "killed", environment), Table()
    site.clear()
    begin = time.monotonic()
    _end(_start(site))
    length = time.monotonic() - begin
    site.clear()
    came_through = False
    while len(table.kills) < kills or not came_through:
        begun_at, ranks = site.batches_read(), _start(site)
        table.resumed += begun_at > 0
        # A run that has less to do is over sooner; starting takes a part of its time in any case.
        left = length * (1 - 0.8 * begun_at / BATCHES)
        killed = _kill(ranks, draw, left) if len(table.kills) < kills else None
        came_through = killed is None
        if killed is None:
            _end(ranks)
            table.finished += 1
        read = _batches(site)
        table.compared += len(read)
        table.equal += sum(expected[place] == rows for place, rows in read)
        if killed is None:
            last = {(BATCHES - 1, rank) for rank in range(RANKS)} if begun_at < BATCHES else set()
            assert {place for place, _ in read} >= last
            site.clear()
            continue
        come_to = 1 + max((number for (number, _), _ in read), default=begun_at - 1)
        table.kills.append(Kill(*killed, begun_at, come_to))
        for rank in range(RANKS):
            (site.folder / f"rank{rank}.jsonl").unlink(missing_ok=True)
    return table


def _batches(site: Site) -> list[tuple[tuple[int, int], list[int]]]:
    """What a run's ranks have read: number of the batch and rank, and the rows."""
    found = []
    for rank in range(RANKS):
        path = site.folder / f"rank{rank}.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        found += [((number, rank), rows) for number, rows in map(json.loads, lines)]
    return found


def _start(site: Site) -> list[Any]:
    context, port = fork_server(), free_port()
    ranks = [context.Process(target=read_in_step, args=(rank, port, site)) for rank in range(RANKS)]
    for process in ranks:
        process.start()
    return ranks


def _end(ranks: list[Any]) -> None:
    """Waits for a run that nobody disturbs any more."""
    for process in ranks:
        process.join(_PATIENCE_SECONDS)
        assert process.exitcode == 0, f"a rank ended with {process.exitcode}"


def _kill(ranks: list[Any], draw: random.Random, length: float) -> tuple[str, float] | None:
    """Kills a process of a run at a random moment and ends the rest; None if the run had ended by then."""
    begin, second = time.monotonic(), draw.uniform(0, length)
    while time.monotonic() - begin < second and all(process.is_alive() for process in ranks):
        time.sleep(0.005)
    workers = []
    for process in ranks:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children()
            workers += [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]
    kind = draw.choice(["rank", "worker"]) if workers else "rank"
    try:
        (draw.choice(workers) if kind == "worker" else psutil.Process(draw.choice(ranks).pid)).kill()
    except psutil.NoSuchProcess:
        return None
    # As a launcher does: the others get some time to say what they have to say.
    deadline = time.monotonic() + _GRACE_SECONDS
    for process in ranks:
        process.join(max(0.0, deadline - time.monotonic()))
    came_through = all(process.exitcode == 0 for process in ranks)
    for process in ranks:
        process.kill()
        process.join()
    return None if came_through else (kind, second)


if __name__ == "__main__":
    sys.exit(main())
