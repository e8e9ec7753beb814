"""The data loaders of a run: `train_loader` and `eval_loader` to Composer DataSpecs."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from composer.core import DataSpec

    from .sections import BagShards


def build_loader(section: "BagShards", device_batch_size: int, tokenizer: Any = None) -> "DataSpec":
    """Returns the DataSpec of a `bag_shards` loader.

    Args:
        section: The checked YAML section.
        device_batch_size: Rows of one batch on one rank.
        tokenizer: A transformers tokenizer to hold against the data's card, or None.
    """
    from tstdata import build_bag_dataloader

    given = section.model_dump(exclude={"name", "dataset", "num_workers", "drop_last"}, exclude_none=True)
    return build_bag_dataloader(
        section.dataset.model_dump(exclude_none=True),
        device_batch_size,
        tokenizer=tokenizer,
        num_workers=section.num_workers,
        drop_last=section.drop_last,
        **given,
    )
