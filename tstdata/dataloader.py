"""The dataloader over bag shards, as Composer and LLM Foundry take it."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from torch.utils.data import BatchSampler, DataLoader, get_worker_info

from .batch_groups import BatchGroup, batches_at_once, group_rows, in_turn, stack_rows
from .dataset import StreamingBagDataset
from .stored_batch import Batch, BatchForm, StoredBatch

if TYPE_CHECKING:
    from composer.core import DataSpec

logger = logging.getLogger(__name__)

# What the dataset decides: the DataLoader must not.
_REFUSED = ("batch_size", "shuffle", "sampler", "batch_sampler", "collate_fn")


class BagDataLoader(DataLoader[dict[str, npt.NDArray[np.int64]]]):
    """A DataLoader that counts the global batches it yields, for exact lengths and checkpoints.

    `len()` is the number of batches of the epoch being read, or to be read next. It differs between epochs
    when phase (i) spans some: Composer reads it once, so whoever runs phase (i) sets `state.dataloader_len`
    to it at each epoch's start.
    """

    dataset: StreamingBagDataset

    def __init__(
        self,
        dataset: StreamingBagDataset,
        sequence_ids: bool = False,
        position_ids: bool = False,
        worker_init_fn: Callable[[int], None] | None = None,
        **kwargs: Any,
    ) -> None:
        if (sequence_ids or position_ids) and dataset.card is None:
            raise ValueError(
                f"{dataset.stored.where} has no card, which tells the end-of-text id: leave sequence_ids "
                "and position_ids out, or prepare the data with: tst prepare"
            )
        derived = sequence_ids or position_ids
        end_id = dataset.card.tokenizer.eos_id if derived and dataset.card else None
        form = BatchForm(end_id, sequence_ids, position_ids)
        super().__init__(
            dataset,
            batch_size=dataset.batch_size,
            # The dataset has left the last rows out already, if they were to be.
            drop_last=False,
            collate_fn=partial(collate_rows, batch_size=dataset.batch_size, form=form),
            worker_init_fn=partial(_serve_stored, then=worker_init_fn),
            **kwargs,
        )
        if self.num_workers:
            batch_bytes = dataset.batch_size * dataset.rows_joined * dataset.maps.row_bytes
            rows = dataset.batch_size * batches_at_once(batch_bytes)
            # DataLoaders let nobody set it later, lest it be set too late; `batch_size` stays what it is.
            object.__setattr__(self, "batch_sampler", BatchSampler(self.sampler, rows, drop_last=False))
        self._rows_yielded = 0
        self._last_batch = (-1, 0)

    def __len__(self) -> int:
        """Global batches of the current epoch."""
        return self.dataset.plan.epoch(self.dataset.current_epoch).num_batches

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Yields the batches of the next epoch, or of what a checkpoint left of it."""
        # Here, so that the message comes from this process and not out of a worker's traceback.
        self.dataset.check_attached()
        epoch, batch_in_epoch = self.dataset.position()
        self._warn_if_cut_short(epoch)
        plan = self.dataset.plan.epoch(epoch)
        self._rows_yielded = 0
        begin = batch_in_epoch * plan.global_batch_size
        for batch in self._batches():
            batch_in_epoch += 1
            self._rows_yielded = min(batch_in_epoch * plan.global_batch_size, plan.num_samples) - begin
            if batch_in_epoch == plan.num_batches:
                self.dataset.mark_finished(epoch)
            self._last_batch = (epoch, batch_in_epoch)
            yield batch
        self.dataset.mark_finished(epoch)

    def _batches(self) -> Iterator[Batch]:
        """Yields torch's batches, made of rows as they are stored, in this process or in workers."""
        batches: Iterator[Any] = super().__iter__()
        if self.num_workers:
            batches = in_turn(batches, self.num_workers)
        while True:
            # Only meanwhile: whoever asks the dataset itself for a row gets int64.
            self.dataset.serves_stored = True
            try:
                batch = next(batches, None)
            finally:
                self.dataset.serves_stored = False
            if batch is None:
                return
            yield batch.widen() if isinstance(batch, StoredBatch) else batch

    def _warn_if_cut_short(self, epoch: int) -> None:
        """Says so when the epoch before ended where an epoch of another length would have: rows were lost."""
        last, batches = self._last_batch
        plan = self.dataset.plan
        lengths = {plan.epoch(earlier).num_batches for earlier in (0, max(last - 1, 0))}
        if epoch == last + 1 > 1 and batches < plan.epoch(last).num_batches and batches in lengths:
            logger.warning(
                "epoch %d was left after %d of its %d batches, the length of an earlier epoch: set "
                "state.dataloader_len = len(state.train_dataloader) at each epoch's start.",
                last,
                batches,
                plan.epoch(last).num_batches,
            )

    def state_dict(self) -> dict[str, Any]:
        """Returns the dataset's state after the batches yielded, whatever workers have read ahead."""
        return self.dataset.state_dict(self._rows_yielded, False)

    def load_state_dict(self, obj: dict[str, Any]) -> None:
        """Goes to where `obj` says; see `StreamingBagDataset.load_state_dict`."""
        self.dataset.load_state_dict(obj)
        self._rows_yielded = 0


def build_bag_dataloader(
    dataset: Mapping[str, Any],
    device_batch_size: int,
    tokenizer: Any = None,
    num_workers: int = 0,
    drop_last: bool = True,
    sequence_ids: bool = False,
    position_ids: bool = False,
    **dataloader_kwargs: Any,
) -> "DataSpec":
    """Builds the loader of a run; LLM Foundry calls it with the same arguments, by name `bag_shards`.

    Batches are `{"input_ids", "labels"}`, int64 `[device_batch_size, bag_size * seq_len]` in phase (i), else
    `[.., seq_len]`; labels are an unshifted copy. `tstdata.plan` tells what an epoch consists of and which
    rows it leaves out.

    Args:
        dataset: StreamingBagDataset's arguments, without `batch_size` and `drop_last`, which come from here.
        device_batch_size: Rows a rank takes a batch.
        tokenizer: The run's transformers tokenizer: refused when it is unlike the dataset's card. None: not
            compared.
        num_workers: Processes that read ahead; the order does not depend on it.
        drop_last: Whether rows that fill no global batch at an epoch's end are left out. Else they are one
            short batch, its rows spread evenly over the ranks; refused if it has fewer rows than there are.
        sequence_ids: Whether batches also have `sequence_id`, shaped as `input_ids`: how many documents end
            in its row before a token, for models that mask attention across documents.
        position_ids: Whether batches also have `position_ids`, shaped as `input_ids`: a token's place in its
            document, or in the row if the document began before it.
        **dataloader_kwargs: The torch DataLoader's other arguments: pin_memory, prefetch_factor,
            persistent_workers ...

    Raises:
        ValueError: An argument is out of its range or contradicts another one.
    """
    from composer.core import DataSpec

    for name in _REFUSED:
        if dataloader_kwargs.get(name) is not None:
            raise ValueError(
                f"{name} is {dataloader_kwargs[name]!r}; leave it out: the order of rows is the dataset's, "
                "and its batch size is device_batch_size."
            )
    arguments = {"batch_size": device_batch_size, "drop_last": drop_last}
    for name, value in arguments.items():
        if dataset.get(name, value) != value:
            raise ValueError(
                f"dataset.{name} is {dataset[name]!r} and the loader's {value!r}. Leave it out of "
                "`dataset`: it is taken from the loader."
            )
    rows = StreamingBagDataset(**{**dataset, **arguments})
    if tokenizer is not None:
        rows.stored.check_model(None, tokenizer)
    loader = BagDataLoader(rows, sequence_ids, position_ids, num_workers=num_workers, **dataloader_kwargs)
    return DataSpec(loader, get_num_samples_in_batch=count_rows, get_num_tokens_in_batch=count_tokens)


def collate_rows(samples: Sequence[Any], batch_size: int, form: BatchForm) -> Batch | BatchGroup:
    """Stacks rows of one length to a batch; in a worker, to batches of ids as they are stored."""
    worker = get_worker_info()
    if worker is None:
        return form.batch(stack_rows(samples))
    return group_rows(samples, worker.id, batch_size, form)


def _serve_stored(worker: int, then: Callable[[int], None] | None) -> None:
    """Lets a worker's dataset serve rows as they are stored: its loader's process widens them."""
    info = get_worker_info()
    assert info is not None, "called in a worker"
    dataset = cast(StreamingBagDataset, info.dataset)
    dataset.serves_stored = dataset.yields_failures = True
    if then is not None:
        then(worker)


def count_rows(batch: Batch) -> int:
    """Returns the rows of a batch, a bag row counting as one."""
    return int(batch["input_ids"].shape[0])


def count_tokens(batch: Batch) -> int:
    """Returns the tokens of text in a batch: in phase (i), those of all bags."""
    return int(batch["input_ids"].numel())
