"""Getting at the tokens of a shard: fetched ahead, checked once, never waited for when it is there."""

import logging
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .rows import BagSpanner
from .shard_maps import DamagedShardError, ShardMaps
from .shard_states import LOCAL, SharedShardStates
from .stored import StoredDataset

logger = logging.getLogger(__name__)

_TRIES = 16
_NAP_SECONDS = 0.007
_INT64 = np.dtype(np.int64)
# After so many rows it is seen whether another epoch has begun, or the dataset was closed.
_ROWS_AT_ONCE = 32


class FetchedShards(SharedShardStates):
    """Mixed into a StreamingDataset: samples are slices of memory maps.

    Streaming takes a file lock and opens the shard anew for each sample, in three threads; here shards that
    are there cost nothing, and two threads fetch those to come.
    """

    maps: ShardMaps
    spanner: BagSpanner
    stored: StoredDataset
    # Whether samples are of the stored type and no copies: in a BagDataLoader's workers, which stack them.
    serves_stored: bool = False

    def get_item(self, sample_id: int, retry: int = _TRIES - 1) -> dict[str, npt.NDArray[Any]]:
        """Returns row `sample_id`, or, from `num_samples` on, a bag row; fetches its shard if needed.

        Args:
            sample_id: As `BagSpanner` counts them.
            retry: How often a shard is fetched again that other processes evict before it could be opened.

        Raises:
            OSError: Its shard could not be had, or is damaged and there is no remote.
        """
        shard, first, stop = self.spanner.place(sample_id)
        tokens, width = self.maps.get(shard), self.stored.seq_len
        if tokens is None or self.cache_limit:
            try:
                tokens = self._tokens(shard, retry + 1)
            except OSError as error:
                self.tell_end(shard, error)
                raise
        ids = tokens[first * width : stop * width]
        return {"input_ids": ids if self.serves_stored else ids.astype(_INT64)}

    def _tokens(self, shard: int, tries: int) -> npt.NDArray[Any]:
        """Returns the tokens of a shard, open or not, local or not."""
        if self.cache_limit:
            # Whatever other processes have evicted meanwhile would keep its space while it is open.
            for number in self.maps.numbers():
                if self._shard_states[number] != LOCAL:
                    self.maps.drop(number)
            self._shard_access_times[shard] = time.time_ns()
        tokens = self.maps.get(shard)
        for _ in range(tries):
            if tokens is not None:
                return tokens
            # Not before it is: downloaders may write under its final name.
            if self._shard_states[shard] != LOCAL:
                self.prepare_shard(shard)
                tokens = self.maps.get(shard)
                continue
            try:
                tokens = self.maps.open(shard)
            except FileNotFoundError:
                # Evicted meanwhile, or only its compressed form is there.
                self.prepare_shard(shard)
                tokens = self.maps.get(shard)
            except DamagedShardError as damage:
                self._discard(shard, damage)
        if tokens is None:
            raise OSError(
                f"{self.shards[shard].raw_data.basename} of {self.stored.where} was fetched {tries} times "
                "and gone or damaged before it could be read. Raise cache_limit, and let no other run evict "
                f"from the same `local` directory ({self._stream_of(shard).local})."
            )
        return tokens

    def _discard(self, shard: int, damage: DamagedShardError) -> None:
        """Deletes a damaged shard, unless another process has put a new file in its place."""
        stream = self._stream_of(shard)
        if stream.source is None:
            raise OSError(
                f"{damage}, and there is no `remote` to fetch it from. See what else is wrong with: "
                f"tst verify {stream.root}"
            ) from damage
        with self._locked_cache():
            if self._shard_states[shard] == LOCAL and self.maps.is_still(shard, damage.identity):
                logger.warning("%s: deleted, and fetched again from %s.", damage, stream.source)
                self._evict_shard(shard)

    def _prepare_thread(self, it: Any) -> None:
        """Fetches the shards of the samples to come, ahead of `_each_sample_id`."""
        self._fetch_shards(it)

    def _ready_thread(self, it: Any) -> None:
        """Fetches too, as `get_item` waits for a shard by itself: one download is checked beside the next."""
        self._fetch_shards(it)

    def _fetch_shards(self, it: Any) -> None:
        fetched: set[int] = set()
        seen = 0
        try:
            while not it.should_exit() and not self._event.is_set():
                start = max(seen, it.yield_index)
                if start == it.total:
                    break
                stop = min(it.total, it.yield_index + self._samples_ahead(it) + 1)
                if start >= stop:
                    time.sleep(_NAP_SECONDS)
                    continue
                for shard in self.spanner.shards_of(it.sample_ids[start:stop]):
                    self._fetch_ahead(shard, fetched)
                seen = stop
        except OSError as error:
            # Raised where the sample is asked for; until then the rows before it are served.
            if str(error) not in self._warned_of:
                self._warned_of.add(str(error))
                logger.warning("%s", error)
        finally:
            it.on_exit()

    def _samples_ahead(self, it: Any) -> int:
        """How many samples ahead to fetch: as told, else this worker's share of the longest shard.

        So one shard is fetched while another is read; Streaming's default, eight batches, would seldom reach
        into the next shard before it is due.
        """
        if self.told_ahead is not None:
            return self.told_ahead
        # The reader may have come to the end meanwhile.
        sample_id = it.sample_ids[min(it.yield_index, it.total - 1)]
        rows = 1
        if sample_id != -1:
            _, first, stop = self.spanner.place(sample_id)
            rows = stop - first
        share: int = int(self.samples_per_shard.max()) // (rows * self._unique_worker_world.workers_per_node)
        return max(share, self.predownload)

    def _fetch_ahead(self, shard: int, fetched: set[int]) -> None:
        if shard not in fetched or (self.cache_limit and self._shard_states[shard] != LOCAL):
            fetched.add(shard)
            self.prepare_shard(shard, False)

    def _each_sample_id(self, it: Any) -> Iterator[int]:
        """Yields the ids of an epoch's samples, in order."""
        while it.yield_index < it.total and not it.should_exit():
            for sample_id in it.sample_ids[it.yield_index : it.yield_index + _ROWS_AT_ONCE]:
                if self._event.is_set():
                    break
                if sample_id != -1:
                    yield sample_id
                it.yield_index += 1
            else:
                continue
            break
        it.on_exit()
