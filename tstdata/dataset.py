"""StreamingBagDataset: bag shards, read as bag rows for the first P global batches, then as rows."""

import contextlib
import json
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.shared_memory import SharedMemory as BuiltinSharedMemory
from typing import Any

import numpy as np
import numpy.typing as npt
from streaming import Stream, StreamingDataset
from streaming.base import dataset as streamings_own
from streaming.base.constant import RESUME
from streaming.base.distributed import all_gather_object, barrier
from streaming.base.hashing import get_hash
from streaming.base.shared import SharedMemory, _get_path, prefix
from streaming.base.stream import streams_registry
from streaming.base.util import bytes_to_int, number_abbrev_to_int
from streaming.base.world import World

from .arguments import DEFAULTS, check_arguments, check_on_bad_shard
from .attachment import Attachment
from .mixed_streams import MixedStreams, make_streams
from .mixing import DrawnOrder
from .order import EpochOrder
from .plan import SuperpositionPlan
from .position import ResumableEpochs
from .rows import BagSpanner, without_a_table_of_rows
from .run_watch import WatchedReading
from .shard_fetching import FetchedShards
from .shard_maps import ShardMaps
from .sharing import closing_what_is_looked_at, one_start_at_a_time, read_shared, release
from .verified_stream import VerifiedFetching
from .worker_ids import Seat, WorkerIds


@streams_registry.register("tstdata_verified")
class VerifiedStream(VerifiedFetching, Stream):
    """How shards are fetched."""

    gather = staticmethod(all_gather_object)


class StreamingBagDataset(MixedStreams, ResumableEpochs, WatchedReading, FetchedShards, StreamingDataset):
    """Streams bag shards: `superposition_batches` global batches of bag rows, then rows, in an exact order.

    Samples are `{"input_ids": int64 array [T]}`, T = `bag_size * seq_len` in phase (i), else `seq_len`.
    `tstdata.plan` tells what each epoch consists of, `tstdata.order` in which order; neither depends on
    nodes, ranks or workers.

    Args:
        bag_size: s, rows in a bag row; 1 or more.
        superposition_batches: P, global batches of phase (i), counted from the start of training; 0: rows
            only.
        batch_size: Rows a rank takes a batch, as the DataLoader's. Times the ranks it is the global batch.
        seq_len: L, a multiple of the stored rows' length: so many of one shard are joined to a row. What a
            shard's length leaves over, other rows each epoch, is left out. None: the stored length.
        remote: Where the shards are: a directory or an object store's URI. None: they are in `local`.
        local: Where shards are cached. None: a temporary directory.
        split: Subdirectory of `remote` and `local`.
        streams: Instead of these: several datasets of the same tokenizer and row length, each a
            `streaming.Stream` or the mapping of its arguments, with `proportion`, `repeat` or `choose` as
            Streaming counts them (`tstdata.mixing` tells which rows an epoch draws); a YAML may name them.
        epoch_size: Rows that an epoch draws of all streams together, if they have no `repeat` or `choose`.
        shuffle: Whether to shuffle; `shuffle_algo`, `shuffle_block_size` and `num_canonical_nodes` say how.
        shuffle_seed: The run's seed.
        shuffle_algo: How far rows move; see `tstdata.spans.Shuffle`.
        shuffle_block_size: In rows, in both phases. None: 4,000,000 / canonical nodes, 262,144 or more.
        drop_last: Whether rows that fill no global batch at an epoch's end are left out, or are one short
            batch.
        validate_hash: Which of the shards' hashes is checked, after each download and when a shard that lies
            in `local` is first read: its name, "auto" for the first in index.json, or None for no check.
        on_bad_shard: "error", once fetching it again has not helped: without it the order would be another.
        **streaming_kwargs: The rest of StreamingDataset's arguments; those that would break the order are
            refused. `predownload` is by default as many samples as a worker reads of one shard.

    Raises:
        ValueError: An argument is out of its range or would break the order, these are no bag shards, or they
            are too few for one global batch, or for a short batch with a row for every rank.
    """

    def __init__(
        self,
        *,
        bag_size: int,
        superposition_batches: int,
        batch_size: int,
        seq_len: int | None = None,
        remote: str | None = None,
        local: str | None = None,
        split: str | None = None,
        streams: Sequence[Any] | Mapping[str, Any] | None = None,
        epoch_size: int | str | None = None,
        shuffle: bool = False,
        shuffle_seed: int = 9176,
        shuffle_algo: str = "py1e",
        shuffle_block_size: int | None = None,
        drop_last: bool = True,
        validate_hash: str | None = "auto",
        on_bad_shard: str = "error",
        **streaming_kwargs: Any,
    ) -> None:
        check_arguments(
            bag_size,
            superposition_batches,
            batch_size,
            seq_len,
            shuffle_algo,
            shuffle_block_size,
            streaming_kwargs,
        )
        check_on_bad_shard(on_bad_shard)
        with (
            one_start_at_a_time(World.detect().is_local_leader, barrier),
            without_a_table_of_rows(streamings_own),
            closing_what_is_looked_at(prefix, lambda memory: memory is getattr(self, "_locals_shm", None)),
        ):
            super().__init__(
                remote=remote,
                local=local,
                split=split,
                streams=make_streams(streams, Stream, VerifiedStream),
                epoch_size=epoch_size,
                batch_size=batch_size,
                shuffle=shuffle,
                shuffle_seed=shuffle_seed,
                shuffle_algo=shuffle_algo,
                validate_hash=None if validate_hash == "auto" else validate_hash,
                # Its own check refuses a limit below four shards, which here can do.
                **{**DEFAULTS, **streaming_kwargs, "stream_name": "tstdata_verified", "cache_limit": None},
            )
        self._release = self._release_when_done()
        with contextlib.ExitStack() as refused:
            refused.callback(self._release)
            self.begin_sharing(bytes_to_int(streaming_kwargs.get("cache_limit") or 0) or None)
            self.told_ahead = streaming_kwargs.get("predownload")
            self.bag_size, self.superposition_batches = bag_size, superposition_batches
            self._block_size = shuffle_block_size
            nodes = streaming_kwargs.get("num_canonical_nodes")
            self._given = {"shuffle_seed": shuffle_seed, "num_canonical_nodes": nodes}
            self.global_batch_size = batch_size * self._parallel_rank_world.num_ranks
            self.read_streams()
            self.card, self.seq_len = self.stored.card, seq_len or self.stored.seq_len
            try:
                self.rows_joined = self.stored.rows_in(self.seq_len)
                size = number_abbrev_to_int(epoch_size) if epoch_size else None
                self.mix(bag_size, self.rows_joined, size, shuffle_seed)
                self.plan = SuperpositionPlan(
                    self.mixture.num_rows,
                    self.mixture.num_bag_rows,
                    bag_size,
                    superposition_batches,
                    self.global_batch_size,
                    drop_last,
                )
                self.plan.check_ranks(self._parallel_rank_world.num_ranks)
            except ValueError as error:
                raise ValueError(f"{self.stored.where}: {error}") from None
            self.spanner = BagSpanner(self.mixture.rows_per_shard, bag_size, self.rows_joined)
            if validate_hash == "auto":
                self.validate_first_hashes()
            self.maps = ShardMaps(self.shards, get_hash, self.hash_of_each_shard())
            self._attachment = Attachment(bag_size, superposition_batches)
            self._forget_a_dead_runs_state()
            refused.pop_all()

    def close(self) -> None:
        """Stops reading and frees what is shared between processes, as garbage collection would."""
        if hasattr(self, "_iterator"):
            self._iterator.non_blocking_exit()
            self._executor.shutdown()
        self.maps.close()
        self.stop_watching()
        self._release()
        for stream in self.streams:
            stream.close()

    def _release_when_done(self) -> weakref.finalize:
        arrays = [self._shared_barrier._arr, self._next_epoch.arr, self._cache_usage.arr]
        arrays += [self._shard_states, self._shard_access_times]
        self._shared_memories = [self._locals_shm, *(array.shm for array in arrays)]
        leads = self._unique_rank_world.is_local_leader
        locks = [*self.notes_paths(), self._shared_barrier.filelock_path, self._cache_filelock_path]
        return weakref.finalize(self, release, os.getpid(), self._shared_memories, locks if leads else [])

    def attach_superposition(
        self, *, bag_size: int, superposition_batches: int, vocab_size: int | None, tokenizer: Any = None
    ) -> None:
        """Lets bag rows out, to the Algorithm that will fold them. To be called before iterating.

        Args:
            bag_size: The Algorithm's s.
            superposition_batches: The Algorithm's P.
            vocab_size: Number of ids that the model has; None: not known.
            tokenizer: The run's tokenizer, to be compared with the card's; None: not known.

        Raises:
            ValueError: Something differs; both values are named.
        """
        self.stored.check_model(vocab_size, tokenizer)
        self._attachment.agree(bag_size=bag_size, superposition_batches=superposition_batches)

    def check_attached(self) -> None:
        """Refuses to go on into bag rows that no Algorithm would fold.

        Raises:
            ValueError: The next batch is of bag rows, and nobody called `attach_superposition`.
        """
        epoch, batch = self.position()
        if batch < self.plan.epoch(epoch).bag_batches:
            self._attachment.require()

    def epoch_order(self, epoch: int) -> EpochOrder | DrawnOrder:
        """Returns the sample ids of an epoch's global batches; see `tstdata.order`."""
        self._resume(self._parallel_rank_world, self.next_epoch)
        return self.mixture.order(self.plan.epoch(epoch), int(self.num_canonical_nodes or 1), self._shuffle())

    def _get_work(self, epoch: int, sample_in_epoch: int) -> WorkerIds:
        """This worker's ids, worked out as they are read; Streaming would share out a whole epoch's first."""
        done, seat = -(-sample_in_epoch // self.global_batch_size), Seat.in_world(self._parallel_worker_world)
        ids = WorkerIds(self.epoch_order(epoch), done, seat)
        # The leader has counted the epoch up by now: nobody may look for the next one earlier.
        self._shared_barrier(self._unique_worker_world.workers_per_node)
        return ids

    def __iter__(self) -> Iterator[dict[str, npt.NDArray[np.int64]]]:
        """Yields this worker's part of the next epoch, or of what a checkpoint left of it."""
        self.check_attached()
        epoch, _ = self.position()
        yield from super().__iter__()
        self.mark_finished(epoch)

    def _loaded_state(self) -> dict[str, Any] | None:
        """The state that was loaded last, by whatever process of this node."""
        try:
            memory = SharedMemory(
                name=_get_path(self._shm_prefix_int, RESUME), create=False, auto_cleanup=False
            )
        except FileNotFoundError:
            return None
        state: dict[str, Any] = json.loads(read_shared(memory))
        return state

    def _forget_a_dead_runs_state(self) -> None:
        """Streaming gives a killed run's number to the next one, which would go on from that one's state."""
        if self._unique_rank_world.is_local_leader:
            with contextlib.suppress(FileNotFoundError):
                BuiltinSharedMemory(_get_path(self._shm_prefix_int, RESUME)).unlink()
            self.forget_notes()
        barrier()
