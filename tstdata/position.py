"""Where in which epoch reading is, and how a checkpoint takes it elsewhere."""

from collections.abc import Mapping
from typing import Any

from .order import ORDER_VERSION
from .plan import SuperpositionPlan
from .resume import STATE_KEY, check_state, last_boundary, warn_of_overruled
from .spans import Shuffle
from .stored import StoredDataset

# To a type checker, whatever comes after it among the bases: only the dataset module imports streaming.
_Base: Any = object


class ResumableEpochs(_Base):
    """Mixed into a StreamingDataset: epochs that follow a plan and resume at every global batch."""

    plan: SuperpositionPlan
    stored: StoredDataset
    seq_len: int
    # shuffle_block_size, or None for the default; and what else was given that a checkpoint overrules.
    _block_size: int | None
    _given: dict[str, Any]
    # The last epoch of which all batches were yielded: with workers, only the DataLoader knows.
    _finished_epoch: int = -1
    _shared_memories: list[Any]

    def _loaded_state(self) -> dict[str, Any] | None:
        """The state that was loaded last, by whatever process of this node."""
        raise NotImplementedError

    def drawn_streams(self) -> list[list[Any]] | None:
        """What an epoch draws of which datasets; None: all of one."""
        raise NotImplementedError

    def position(self) -> tuple[int, int]:
        """Returns the epoch that iterating would begin with now, and the global batch in it."""
        epoch, sample = self._resume(self._parallel_rank_world, self.next_epoch)
        return epoch, -(-sample // self.plan.global_batch_size)

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

    def state_dict(self, num_samples: int, from_beginning: bool) -> dict[str, Any]:
        """Returns where training is, in which order of which dataset.

        Args:
            num_samples: Rows that all ranks took in this epoch, a bag row counting as one.
            from_beginning: Whether they count from the epoch's beginning, or from where it was resumed.
        """
        state = super().state_dict(num_samples, from_beginning)
        # At an epoch's end Composer counts 0 of the next one; Streaming would name the one just finished.
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
        self._shared_memories.append(self._resume_shm)
        # Streaming takes a state of an epoch before its own count for a stale one.
        self.next_epoch = obj["epoch"]
        self._finished_epoch = obj["epoch"] - 1

    def _resume(self, world: Any, epoch: int) -> tuple[int, int]:
        """Returns the epoch and the row in it to go on from: the loaded state's, unless `epoch` is past it.

        Streaming's own, but that its every call leaves a file descriptor open.
        """
        state = self._loaded_state()
        if state is not None and state["epoch"] >= epoch:
            self.num_canonical_nodes = state["num_canonical_nodes"]
            self.shuffle_seed = state["shuffle_seed"]
            self.initial_physical_nodes = state["initial_physical_nodes"]
            return state["epoch"], state["sample_in_epoch"]
        if not self.num_canonical_nodes:
            self.num_canonical_nodes = world.num_nodes * (64 if self.shuffle_algo in ("py1s", "py2s") else 1)
        return epoch, 0

    def _shuffle(self) -> Shuffle:
        default = max(4_000_000 // int(self.num_canonical_nodes or 1), 1 << 18)
        return Shuffle(
            self.shuffle_algo if self.shuffle else None, self.shuffle_seed, self._block_size or default
        )

    def _identity(self) -> dict[str, Any]:
        """What must not change between a checkpoint and its resumption."""
        shuffle = self._shuffle()
        return {
            "order_version": ORDER_VERSION,
            "dataset": self.stored.sha256,
            "streams": self.drawn_streams(),
            "seq_len": self.seq_len,
            "bag_size": self.plan.bag_size,
            "superposition_batches": self.plan.superposition_batches,
            "global_batch_size": self.plan.global_batch_size,
            "drop_last": self.plan.drop_last,
            "shuffle_algo": shuffle.algo,
            "shuffle_block_size": shuffle.block_size if shuffle.algo else None,
        }
