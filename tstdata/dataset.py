"""StreamingBagDataset: bag shards, read as bag rows for the first P global batches, then as rows."""

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np
import numpy.typing as npt
from streaming import StreamingDataset
from streaming.base.batching import batching_methods
from streaming.base.world import World

from .arguments import check_arguments
from .order import ORDER_VERSION, Shuffle, epoch_batches, share_batches
from .plan import SuperpositionPlan
from .resume import STATE_KEY, check_state, last_boundary, warn_of_overruled
from .rows import COLUMN, BagSpanner
from .stored import read_stored

logger = logging.getLogger(__name__)


class StreamingBagDataset(StreamingDataset):
    """Streams bag shards: `superposition_batches` global batches of bag rows, then rows, in an exact order.

    Samples are `{"input_ids": int64 array [T]}`, T = `bag_size * seq_len` in phase (i), else `seq_len`.
    `tstdata.plan` tells what each epoch consists of, `tstdata.order` in which order; neither depends on
    nodes, ranks or workers.

    Args:
        bag_size: s, rows in a bag row; 1 or more.
        superposition_batches: P, global batches of phase (i), counted from the start of training; 0: rows
            only.
        batch_size: Rows a rank takes a batch, as the DataLoader's. Times the ranks it is the global batch.
        remote: Where the shards are: a directory or an object store's URI. None: they are in `local`.
        local: Where shards are cached. None: a temporary directory.
        split: Subdirectory of `remote` and `local`.
        shuffle: Whether to shuffle; `shuffle_algo`, `shuffle_block_size` and `num_canonical_nodes` say how.
        shuffle_seed: The run's seed.
        shuffle_algo: How far rows move; see `tstdata.order.Shuffle`.
        shuffle_block_size: In rows, in both phases. None: 4,000,000 / canonical nodes, 262,144 or more.
        drop_last: Whether rows that fill no global batch at an epoch's end are left out, or are one short
            batch.
        validate_hash: Which of the shards' hashes is checked after each download: its name, "auto" for the
            first in index.json, or None for no check.
        **streaming_kwargs: The rest of StreamingDataset's arguments; those that would break the order are
            refused.

    Raises:
        ValueError: An argument is out of its range or would break the order, these are no bag shards, or they
            are too few for one global batch.
    """

    def __init__(
        self,
        *,
        bag_size: int,
        superposition_batches: int,
        batch_size: int,
        remote: str | None = None,
        local: str | None = None,
        split: str | None = None,
        shuffle: bool = False,
        shuffle_seed: int = 9176,
        shuffle_algo: str = "py1e",
        shuffle_block_size: int | None = None,
        drop_last: bool = True,
        validate_hash: str | None = "auto",
        **streaming_kwargs: Any,
    ) -> None:
        check_arguments(
            bag_size, superposition_batches, batch_size, shuffle_algo, shuffle_block_size, streaming_kwargs
        )
        super().__init__(
            remote=remote,
            local=local,
            split=split,
            batch_size=batch_size,
            shuffle=shuffle,
            shuffle_seed=shuffle_seed,
            shuffle_algo=shuffle_algo,
            validate_hash=None if validate_hash == "auto" else validate_hash,
            **streaming_kwargs,
        )
        self.batching_method = _BATCHING_METHOD
        self.bag_size = bag_size
        self.superposition_batches = superposition_batches
        self.block_size = shuffle_block_size
        nodes = streaming_kwargs.get("num_canonical_nodes")
        self._given = {"shuffle_seed": shuffle_seed, "num_canonical_nodes": nodes}
        self.global_batch_size = batch_size * self._parallel_rank_world.num_ranks
        rows = self.samples_per_shard.tolist()
        self.plan = SuperpositionPlan.of_shards(
            rows, bag_size, superposition_batches, self.global_batch_size, drop_last
        )
        self.stored = read_stored(self.streams[0], self.shards, self._unique_rank_world.rank)
        self.card, self.seq_len = self.stored.card, self.stored.seq_len
        self.spanner = BagSpanner(rows, bag_size)
        if validate_hash == "auto":
            self._validate_first_hash()
        self._attached = superposition_batches == 0
        self._finished_epoch = -1
        self._failure: BaseException | None = None

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
        for name, theirs in (("bag_size", bag_size), ("superposition_batches", superposition_batches)):
            if theirs != (ours := getattr(self, name)):
                raise ValueError(
                    f"{name} is {ours} in the dataset and {theirs} in TokenSuperposition. Leave it out of "
                    "the algorithm's settings, and it is taken from the dataset."
                )
        self.stored.check_model(vocab_size, tokenizer)
        self._attached = True

    def check_attached(self) -> None:
        """Refuses to go on into bag rows that no Algorithm would fold.

        Raises:
            ValueError: The next batch is of bag rows, and nobody called `attach_superposition`.
        """
        epoch, batch = self.position()
        if not self._attached and batch < self.plan.epoch(epoch).bag_batches:
            raise ValueError(
                f"the next batch is of bag rows (bag_size: {self.bag_size}, superposition_batches: "
                f"{self.superposition_batches}), but no TokenSuperposition has attached to fold them. Add "
                f"`algorithms: {{token_superposition: {{}}}}` to the YAML, or "
                "composer_algo.TokenSuperposition() to the Trainer; for ordinary training set "
                "superposition_batches: 0."
            )

    def position(self) -> tuple[int, int]:
        """Returns the epoch that iterating would begin with now, and the global batch in it."""
        epoch, sample = self._resume(self._parallel_rank_world, self.next_epoch)
        return epoch, -(-sample // self.global_batch_size)

    def mark_finished(self, epoch: int) -> None:
        """Notes that the last batch of `epoch` was yielded; with workers, only the DataLoader knows."""
        self._finished_epoch = epoch

    @property
    def current_epoch(self) -> int:
        """The epoch being read, or, when none is, the one to be read next."""
        begun = self.next_epoch - 1
        return begun if begun != self._finished_epoch else self.position()[0]

    def __len__(self) -> int:
        """Rows that a rank takes in the current epoch, a bag row counting as one; rounded up."""
        return -(-self.plan.epoch(self.current_epoch).num_samples // self._parallel_rank_world.num_ranks)

    def epoch_order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Returns the sample ids of an epoch, `[global batches, global batch size]`; see `tstdata.order`."""
        self._resume(self._parallel_rank_world, self.next_epoch)
        shuffle = Shuffle(
            self.shuffle_algo if self.shuffle else None, self.shuffle_seed, self._rows_per_block()
        )
        plan, nodes = self.plan.epoch(epoch), int(self.num_canonical_nodes or 1)
        return epoch_batches(self.samples_per_shard, plan, self.bag_size, nodes, shuffle)

    def __iter__(self) -> Iterator[dict[str, npt.NDArray[np.int64]]]:
        """Yields this worker's part of the next epoch, or of what a checkpoint left of it."""
        self.check_attached()
        epoch, _ = self.position()
        yield from super().__iter__()
        # Streaming ends the epoch quietly when one of its threads fails, and only fails in the next one.
        if self._failure is not None:
            raise RuntimeError(f"{self.stored.where} could not be read: {self._failure}") from self._failure
        self.mark_finished(epoch)

    def on_exception(self, future: Future[None]) -> None:
        """Keeps what a background thread failed with, for `__iter__` to raise."""
        self._failure = future.exception() or self._failure
        if self._failure is not None:
            self._event.set()

    def get_item(self, sample_id: int, retry: int = 7) -> dict[str, npt.NDArray[np.int64]]:
        """Returns row `sample_id`, or, from `num_samples` on, a bag row; fetches its shard if needed."""
        rows = super().get_item(sample_id, retry)
        rows = rows if isinstance(rows, list) else [rows]
        return {"input_ids": np.concatenate([row[COLUMN] for row in rows]).astype(np.int64)}

    def state_dict(self, num_samples: int, from_beginning: bool) -> dict[str, Any]:
        """Returns where training is, in which order of which dataset.

        Args:
            num_samples: Rows that all ranks took in this epoch, a bag row counting as one.
            from_beginning: Whether they count from the epoch's beginning, or from where it was resumed.
        """
        state = super().state_dict(num_samples, from_beginning)
        # At an epoch's end Composer's count is at 0 of the next one; Streaming would name the one just
        # finished.
        moved_on = from_beginning and num_samples == 0 and state["epoch"] == self._finished_epoch
        if state["epoch"] < 0 or moved_on:
            state.update(epoch=state["epoch"] + 1, sample_in_epoch=0)
        return {**state, STATE_KEY: self._identity()}

    def load_state_dict(self, obj: dict[str, Any]) -> None:
        """Goes to where `obj` says; if that is within a global batch, to its beginning.

        Raises:
            ValueError: `obj` was not written over this dataset, or not in this order; both values are named.
        """
        if isinstance(obj, Mapping) and "num_canonical_nodes" in obj:
            self.num_canonical_nodes = obj["num_canonical_nodes"]
        check_state(obj, self._identity())
        warn_of_overruled(obj, self._given)
        obj = last_boundary(obj, self.plan)
        super().load_state_dict(obj)
        # Streaming takes a state of an epoch before its own count for a stale one.
        self.next_epoch = obj["epoch"]
        self._finished_epoch = obj["epoch"] - 1

    def _identity(self) -> dict[str, Any]:
        """What must not change between a checkpoint and its resumption."""
        return {
            "order_version": ORDER_VERSION,
            "dataset": self.stored.sha256,
            "seq_len": self.seq_len,
            "bag_size": self.bag_size,
            "superposition_batches": self.superposition_batches,
            "global_batch_size": self.global_batch_size,
            "drop_last": self.plan.drop_last,
            "shuffle_algo": self.shuffle_algo if self.shuffle else None,
            "shuffle_block_size": self._rows_per_block() if self.shuffle else None,
        }

    def _rows_per_block(self) -> int:
        return self.block_size or max(4_000_000 // int(self.num_canonical_nodes or 1), 1 << 18)

    def _validate_first_hash(self) -> None:
        hashes = self.shards[0].hashes
        if hashes:
            self.streams[0].validate_hash = hashes[0]
        else:
            logger.warning(
                "%s: its index.json has no shard hashes, so a damaged download can't be told from a good "
                "one.",
                self.stored.where,
            )


def _share_epoch(
    dataset: StreamingBagDataset, world: World, epoch: int, sample_in_epoch: int
) -> npt.NDArray[np.int64]:
    """What Streaming calls, on one process a node, to share out an epoch, or the rest of it."""
    done = -(-sample_in_epoch // dataset.global_batch_size)
    batches = dataset.epoch_order(epoch)[done:]
    return share_batches(batches, world.num_nodes, world.ranks_per_node, world.workers_per_rank)


_BATCHING_METHOD = "bag_shards"
batching_methods[_BATCHING_METHOD] = _share_epoch
