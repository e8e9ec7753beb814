"""The superposition plan: arithmetic of which global batch of which epoch holds what.

Phase (i) is the first P global batches of training, whole bag rows of s consecutive rows of one shard. An
epoch gives at most `bag_batches_per_epoch` of them, so phase (i) may span epochs:

- an epoch in which phase (i) does not end is bag batches only; what does not fill one more is not served in
  it;
- in the epoch of the switch, all rows that are in no served bag row follow as ordinary rows;
- every later epoch is ordinary rows only.

With `drop_last` the rows that fill no global batch at an epoch's end are not served; without, they are one
short batch.

Example: 2 shards of 10 rows, s = 4, P = 3, 2 rows a global batch. Each shard holds 2 bag rows, so an epoch
has 2 bag batches. Epoch 0 is 2 bag batches; epoch 1 is 1 bag batch and (20 - 8) / 2 = 6 batches of rows;
epoch 2 is 10 batches of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class EpochPlan:
    """One epoch, in global batches: `bag_batches`, then `row_batches`, the last one of `last_rows`."""

    epoch: int
    first_batch: int
    bag_batches: int
    row_batches: int
    last_rows: int
    global_batch_size: int

    @property
    def num_batches(self) -> int:
        """Global batches in this epoch."""
        return self.bag_batches + self.row_batches

    @property
    def num_samples(self) -> int:
        """Rows in this epoch's batches, a bag row counting as one, as Composer's `sample_in_epoch` counts."""
        short = self.global_batch_size - self.last_rows if self.row_batches else 0
        return self.num_batches * self.global_batch_size - short


@dataclass(frozen=True)
class SuperpositionPlan:
    """The plan of one run over one dataset.

    Args:
        num_rows: Rows of the dataset.
        num_bag_rows: Bag rows that its shards hold: the sum of `rows // bag_size` over shards.
        bag_size: s; 1 or more.
        superposition_batches: P; 0 means no phase (i).
        global_batch_size: Rows of a global batch over all ranks.
        drop_last: Whether rows that fill no global batch at the end of an epoch are left out.

    Raises:
        ValueError: A number is out of its range, or an epoch can't fill one global batch.
    """

    num_rows: int
    num_bag_rows: int
    bag_size: int
    superposition_batches: int
    global_batch_size: int
    drop_last: bool = True

    def __post_init__(self) -> None:
        for name, least in (("bag_size", 1), ("superposition_batches", 0), ("global_batch_size", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} is {value!r}; it is a whole number, {least} or more.")
        if self.superposition_batches and self.num_bag_rows < self.global_batch_size:
            raise ValueError(
                f"the dataset's {self.num_rows} rows make {self.num_bag_rows} bag rows of bag_size "
                f"{self.bag_size} (a bag row lies in one shard), and one global batch needs "
                f"{self.global_batch_size}. Lower bag_size or the batch size, prepare more data, or set "
                "superposition_batches: 0."
            )
        if self.num_rows < (self.global_batch_size if self.drop_last else 1):
            raise ValueError(
                f"the dataset has {self.num_rows} rows and one global batch needs {self.global_batch_size}. "
                "Lower the batch size, prepare more data, or set drop_last: false."
            )

    @classmethod
    def of_shards(
        cls,
        rows_per_shard: Sequence[int],
        bag_size: int,
        superposition_batches: int,
        global_batch_size: int,
        drop_last: bool = True,
    ) -> "SuperpositionPlan":
        """Returns the plan for a dataset whose shards hold so many rows each."""
        num_bag_rows = sum(int(rows) // max(bag_size, 1) for rows in rows_per_shard)
        num_rows = sum(map(int, rows_per_shard))
        return cls(num_rows, num_bag_rows, bag_size, superposition_batches, global_batch_size, drop_last)

    def check_ranks(self, num_ranks: int) -> None:
        """Refuses a short batch with fewer rows than ranks: those without any would wait for ever.

        Dropping it instead would make an epoch's length depend on the layout.

        Raises:
            ValueError: An epoch's last batch has too few rows.
        """
        for number in (self.switch_epoch, self.switch_epoch + 1):
            epoch = self.epoch(number)
            if epoch.row_batches and epoch.last_rows < num_ranks:
                raise ValueError(
                    f"with drop_last: false the last batch of epoch {number} has {epoch.last_rows} rows, and "
                    f"each of the {num_ranks} ranks needs one. Set drop_last: true, or another batch size."
                )

    @property
    def bag_batches_per_epoch(self) -> int:
        """Global batches of bag rows that one epoch can give."""
        return self.num_bag_rows // self.global_batch_size

    @property
    def switch_epoch(self) -> int:
        """The epoch in which phase (i) ends, or 0 when there is no phase (i)."""
        if not self.superposition_batches:
            return 0
        return -(-self.superposition_batches // self.bag_batches_per_epoch) - 1

    def epoch(self, epoch: int) -> EpochPlan:
        """Returns what epoch number `epoch`, counted from 0, consists of."""
        size, most = self.global_batch_size, self.bag_batches_per_epoch
        if epoch < self.switch_epoch:
            return EpochPlan(epoch, epoch * most, most, 0, 0, size)
        bags_at_switch = self.superposition_batches - self.switch_epoch * most
        first = self.switch_epoch * most
        if epoch == self.switch_epoch:
            bag_batches, rows = bags_at_switch, self.num_rows - bags_at_switch * size * self.bag_size
        else:
            bag_batches, rows = 0, self.num_rows
            first += self.epoch(self.switch_epoch).num_batches
            first += (epoch - self.switch_epoch - 1) * self._row_batches(self.num_rows)
        row_batches = self._row_batches(rows)
        last_rows = min(size, rows - (row_batches - 1) * size) if row_batches else 0
        return EpochPlan(epoch, first, bag_batches, row_batches, last_rows, size)

    def _row_batches(self, rows: int) -> int:
        """Global batches that so many rows give."""
        return rows // self.global_batch_size if self.drop_last else -(-rows // self.global_batch_size)
