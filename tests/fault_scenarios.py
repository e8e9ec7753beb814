"""What an object store or a disk may do to a run of two ranks, and what must come of it."""

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from faulty_store import Fault, FaultyStore
from handmade_shards import tokens_of_row, write_shards
from object_stores import ObjectStore
from reading_ranks import Job, Reading, read_on_two_ranks

ROWS, SEQ_LEN = (40, 33, 40, 27), 256
SHARD = "shard.00002.mds"
# Few rows ahead, so that some are due before a shard of the middle is looked for.
_READING = {
    "bag_size": 2,
    "superposition_batches": 0,
    "shuffle": True,
    "shuffle_block_size": 20,
    "predownload": 4,
}


@dataclass(frozen=True)
class Scenario:
    """Faults, and what becomes of them: `says` is part of the log if it heals, else of every rank's error."""

    name: str
    faults: tuple[tuple[Any, ...], ...]
    heals: bool
    says: str
    full_disk: bool = False
    timeout: float = 20.0
    quick: bool = False


def _of_shard(name: str, kind: str, times: int | None, says: str, *more: Any, **options: Any) -> Scenario:
    """A fault of one shard, which heals if it does not last."""
    return Scenario(name, ((kind, rf"/{SHARD}", times, *more),), times is not None, says, **options)


_AGAIN = "try 1 of "
SCENARIOS = [
    _of_shard("5xx, 5 times", "unavailable", 5, _AGAIN, quick=True),
    _of_shard("5xx for ever", "unavailable", None, "See that the store answers"),
    _of_shard("slow first byte, once", "slow", 1, _AGAIN, 6.0, timeout=1.0),
    _of_shard("no first byte ever", "slow", None, "no byte arrived for 1 sec", 60.0, timeout=1.0),
    _of_shard("connection cut, 7 times", "cut", 7, _AGAIN),
    _of_shard("connection cut for ever", "cut", None, "See that the store answers"),
    # The SDK itself tries again, and says nothing.
    _of_shard("truncated body, once", "truncated", 1, ""),
    _of_shard("truncated body for ever", "truncated", None, "that the file there is whole"),
    _of_shard("wrong bytes, twice", "wrong", 2, "deleted, and fetched again from s3://", quick=True),
    _of_shard("wrong bytes for ever", "wrong", None, "and index.json says"),
    _of_shard("shard missing", "missing", None, "It is not there: put it back", quick=True),
    _of_shard("credentials expired", "expired", None, "renew the credentials"),
    _of_shard("credentials renewed meanwhile", "expired", 1, _AGAIN),
    Scenario("credentials expired at start", (("expired", ".*", None),), False, "renew the credentials"),
    Scenario("index.json missing", (("missing", "/index.json", None),), False, "It is not there"),
    Scenario("disk full", (), False, "disk is full: make room", full_disk=True, quick=True),
]


@dataclass
class Outcome:
    """What both ranks said of a scenario, how long it took, and what a second run on the same cache read."""

    first: list[Reading]
    seconds: float
    second: list[Reading]


class Site:
    """A dataset in a store, a proxy before it, and a cache for each scenario."""

    def __init__(self, folder: Path, store: ObjectStore, proxy: FaultyStore) -> None:
        self.folder, self.proxy = folder, proxy
        self.prefix = f"faults-{folder.name}"
        self.remote = store.uri(self.prefix)
        if not store.keys(f"{self.prefix}/"):
            shards = write_shards(folder / "shards", ROWS, SEQ_LEN)
            store.upload(shards, self.prefix)
            self.shard_bytes = (shards / SHARD).stat().st_size
        self.environment = {**store.environment, "S3_ENDPOINT_URL": proxy.endpoint}
        self.rows = [tokens_of_row(row, SEQ_LEN) for row in range(sum(ROWS))]

    def job(self, cache: str, timeout: float = 20.0, **changes: Any) -> Job:
        """Two ranks' reading of an epoch; `timeout` is how many seconds they wait for a byte."""
        dataset = {
            "remote": self.remote,
            "local": str(self.folder / cache),
            **_READING,
            "download_timeout": timeout,
        }
        return replace(Job(dataset, self.environment), **changes)

    def undisturbed(self) -> list[Reading]:
        """What both ranks read when nothing happens."""
        self.proxy.faults = ()
        return read_on_two_ranks(self.job("undisturbed"))

    def run(self, scenario: Scenario, **changes: Any) -> Outcome:
        """Runs a scenario, and then, with no fault left, a second run on its cache."""
        cache = "".join(letter if letter.isalnum() else "-" for letter in scenario.name)
        shutil.rmtree(self.folder / cache, ignore_errors=True)
        self.proxy.faults = [Fault(*fault) for fault in scenario.faults]
        limit = self.shard_bytes - 1000 if scenario.full_disk else None
        start = time.monotonic()
        first = read_on_two_ranks(self.job(cache, scenario.timeout, largest_file=limit, **changes))
        seconds = time.monotonic() - start
        self.proxy.faults = ()
        return Outcome(first, seconds, read_on_two_ranks(self.job(cache, **changes)))
