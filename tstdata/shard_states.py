"""Which shards are in the cache, as the processes of a node tell one another: fetching, room, failures."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from .arguments import check_cache_limit

# To a type checker, whatever comes after it among the bases: only the dataset module imports streaming.
_Base: Any = object

# Streaming's states of a shard, in memory that the processes of a node share. It never goes back to the
# first: here it tells that fetching has failed, so that no process waits for another one's download for ever.
_FAILED, _REMOTE, _PREPARING, LOCAL = range(4)
_NAP_SECONDS = 0.007
_LOOK_SECONDS = 1.0
# How often a process looks whether another one of its node has ended the run.
WATCH_SECONDS = 0.25


class SharedShardStates(_Base):
    """Mixed into a StreamingDataset: one process fetches a shard, within the cache's limit."""

    cache_limit: int | None
    # The process that made the dataset: others are its workers.
    _maker: int
    # Why a shard could not be had, by number, as far as this process has tried.
    _refusals: dict[int, str]
    # What has been warned of by a thread that fetches ahead: two may meet the same bad shard.
    _warned_of: set[str]
    # The file whose bytes are locked by who fetches the shard of that number, and the process that opened it.
    _fetchers: tuple[int, int] | None = None
    # Bytes that the node's cache holds, with what is kept free for shards being fetched.
    cache_usage: int
    # What this process fetches now.
    _fetching: set[int]

    def begin_sharing(self, limit: int | None) -> None:
        """Takes the number of bytes that the cache may hold; None: any. Called by the process that made it.

        Raises:
            ValueError: It is too low.
        """
        self.cache_limit, self._refusals, self._maker = limit, {}, os.getpid()
        self._warned_of = set()
        index = sum(stream.get_index_size() for stream in self.streams)
        largest = max(shard.get_max_size() for shard in self.shards)
        check_cache_limit(limit, index, largest, self._unique_rank_world.ranks_per_node)

    def prepare_shard(self, shard_id: int, blocking: bool = True) -> None:
        """Fetches a shard if it is not local; failing is told to the other processes of the node.

        Args:
            shard_id: Its number.
            blocking: Whether to wait while another process fetches it or needs the room; then it is also
                opened, so that it can be read even if it is evicted at once.

        Raises:
            OSError: It could not be had.
        """
        looked = time.monotonic()
        while True:
            with self._locked_cache():
                if (reserved := self._reserve(shard_id)) is not None:
                    break
            if not blocking or self._shard_states[shard_id] == LOCAL:
                return
            if time.monotonic() - looked > _LOOK_SECONDS:
                self._forget_dead_fetchers()
                looked = time.monotonic()
            time.sleep(_NAP_SECONDS)
        self._fetch_reserved(shard_id, reserved, blocking)

    def _reserve(self, shard_id: int) -> int | None:
        """Lets this process fetch a shard: returns the bytes kept free for it; None: it can't or need not."""
        shard, state = self.shards[shard_id], self._shard_states[shard_id]
        if state == _FAILED:
            raise OSError(self._refusal(shard_id))
        if state == _PREPARING:
            return None
        root = self._stream_of(shard_id).root
        held = [info for info in _files(shard) if os.path.exists(os.path.join(root, info.basename))]
        if state == LOCAL:
            self._shard_access_times[shard_id] = time.time_ns()
            if shard.raw_data in held:
                return None
            if not held:  # Somebody has deleted it: what it took is free.
                counted = shard.get_persistent_size(self._stream_of(shard_id).safe_keep_zip)
                self.cache_usage = max(0, self.cache_usage - counted)
        needed: int = shard.get_max_size() - sum(info.bytes for info in held)
        if not self._make_room(shard_id, needed):
            return None
        self._shard_states[shard_id] = _PREPARING
        self.cache_usage += needed
        fcntl.lockf(self._fetchers_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, shard_id)
        self._fetching.add(shard_id)
        return needed

    def _fetch_reserved(self, shard_id: int, reserved: int, opened: bool) -> None:
        grown, state = 0, _FAILED
        try:
            shard, stream = self.shards[shard_id], self._stream_of(shard_id)
            grown = stream.prepare_shard(shard, lambda: self.maps.check(shard_id))
            if opened:
                # What is wrong with it is found where it is read.
                with contextlib.suppress(OSError, ValueError):
                    self.maps.open(shard_id)
            state = LOCAL
        except Exception as error:
            self._tell(shard_id, error, ends_run=False)
            raise
        finally:
            with self._locked_cache():
                self.cache_usage += grown - reserved
                self._shard_access_times[shard_id] = time.time_ns()
                self._shard_states[shard_id] = state
                self._fetching.discard(shard_id)
                fcntl.lockf(self._fetchers_file(), fcntl.LOCK_UN, 1, shard_id)

    def _make_room(self, shard_id: int, needed: int) -> bool:
        """Evicts shards until so many bytes are free; False: others must be done with theirs first."""
        while self.cache_limit and self.cache_limit < self.cache_usage + needed:
            states = self._shard_states.numpy()
            others = [number for number in (states == LOCAL).nonzero()[0] if number != shard_id]
            if not others:
                return False
            times = self._shard_access_times.numpy()
            self._evict_shard(min(others, key=lambda number: times[number]))
        return True

    def _forget_dead_fetchers(self) -> None:
        """Makes shards ones to be fetched again where the process that was fetching them has been killed."""
        with self._locked_cache():
            file = self._fetchers_file()
            numbers = (self._shard_states.numpy() == _PREPARING).nonzero()[0]
            for number in set(numbers.tolist()) - self._fetching:
                with contextlib.suppress(BlockingIOError):
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
                    fcntl.lockf(file, fcntl.LOCK_UN, 1, number)
                    self._shard_states[number] = _REMOTE
                    self.cache_usage = max(0, self.cache_usage - self.shards[number].get_max_size())

    @contextlib.contextmanager
    def _locked_cache(self) -> Iterator[None]:
        if not hasattr(self, "_cache_filelock"):
            from filelock import FileLock

            self._cache_filelock = FileLock(self._cache_filelock_path)
        with self._cache_filelock:
            yield

    def _fetchers_file(self) -> int:
        """This process's own descriptor: locks of bytes end with the process that took them."""
        if self._fetchers is None or self._fetchers[1] != os.getpid():
            path = self._notes_path("fetchers")
            self._fetchers = os.open(path, os.O_RDWR | os.O_CREAT, 0o666), os.getpid()
            self._fetching = set()
        return self._fetchers[0]

    def tell_end(self, shard_id: int, error: OSError) -> None:
        """Tells the node's other processes that the run ends here: a row is due and can't be had."""
        self._tell(shard_id, error, ends_run=True)
        if self._unique_rank_world.ranks_per_node > 1:
            # Before this one dies, which is all that some would learn of it: "connection closed by peer".
            time.sleep(2 * WATCH_SECONDS)

    def _tell(self, shard_id: int, error: Exception, ends_run: bool) -> None:
        self._refusals[shard_id] = str(error)
        note = json.dumps([int(shard_id), str(error), ends_run]) + "\n"
        # On a full disk they learn that it failed all the same, only not why.
        with contextlib.suppress(OSError), open(self._notes_path("failures"), "a") as file:
            file.write(note)

    def _told(self) -> list[tuple[int, str, bool]]:
        """What the node's processes have told: shard, why, and whether a row of it was due."""
        try:
            with open(self._notes_path("failures")) as file:
                return [tuple(json.loads(line)) for line in file if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def end_told(self) -> str | None:
        """Returns why another process of the node has ended the run; None: none has."""
        return next((why for _, why, ends_run in self._told() if ends_run), None)

    def notes_paths(self) -> list[str]:
        """The files that the node's processes tell one another by, besides Streaming's own."""
        return [self._notes_path(kind) for kind in ("fetchers", "failures")]

    def _refusal(self, shard_id: int) -> str:
        if shard_id not in self._refusals:
            told = {shard: why for shard, why, _ in self._told()}
            self._refusals[shard_id] = told.get(
                int(shard_id),
                f"{self.shards[shard_id].raw_data.basename} of {self._stream_of(shard_id).source} could not "
                "be fetched by another process of this machine, whose message says why. Then start the run "
                "again: it goes on from its last checkpoint.",
            )
        return self._refusals[shard_id]

    def forget_notes(self) -> None:
        """Removes what a killed run of the same number has told."""
        for path in self.notes_paths():
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)

    def _notes_path(self, kind: str) -> str:
        """A file beside Streaming's lock of the cache, and under the same number."""
        return self._cache_filelock_path.removesuffix("cache_filelock") + kind

    def _stream_of(self, shard_id: int) -> Any:
        return self.streams[self.stream_per_shard[shard_id]]


def _files(shard: Any) -> list[Any]:
    return [info for info in (shard.raw_data, shard.zip_data) if info is not None]
