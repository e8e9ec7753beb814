"""The dataset's part of a checkpoint: which dataset in which order, and at which global batch."""

import logging
from collections.abc import Mapping
from typing import Any

from .plan import SuperpositionPlan

logger = logging.getLogger(__name__)

STATE_KEY = "bag_shards"


def check_state(state: Any, expected: Mapping[str, Any]) -> None:
    """Refuses a checkpoint that was written over another dataset, or in another order.

    Args:
        state: What the checkpoint holds for the dataset.
        expected: What this dataset would write under `STATE_KEY`.

    Raises:
        ValueError: Naming what differs, with both values.
    """
    if not isinstance(state, Mapping) or STATE_KEY not in state:
        raise ValueError(
            "the checkpoint's dataset state was not written by StreamingBagDataset, but by "
            f"{'a plain StreamingDataset' if isinstance(state, Mapping) else 'a run without one'}: its "
            "position means nothing in this order. Start a new run from its weights (load_weights_only: "
            "true)."
        )
    found = state[STATE_KEY]
    differing = [name for name in expected if found.get(name) != expected[name]]
    if differing:
        values = ", ".join(f"{name} {found.get(name)!r} (now {expected[name]!r})" for name in differing)
        raise ValueError(
            f"the checkpoint was written with {values}: the rest of its order can't be continued. Set them "
            "as they were, or start a new run from its weights (load_weights_only: true)."
        )


def warn_of_overruled(state: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Says which of the `given` settings (None: not given) the checkpoint's own take the place of."""
    for name, value in given.items():
        if value is not None and value != state[name]:
            logger.warning("going on with the checkpoint's %s %r, not %r.", name, state[name], value)


def last_boundary(state: Mapping[str, Any], plan: SuperpositionPlan) -> dict[str, Any]:
    """Returns `state` moved back to the last global-batch boundary, with a warning if it was not at one.

    Raises:
        ValueError: The position lies beyond the epoch's end.
    """
    epoch, sample = int(state["epoch"]), int(state["sample_in_epoch"])
    total, size = plan.epoch(epoch).num_samples, plan.global_batch_size
    if not 0 <= sample <= total:
        raise ValueError(
            f"the checkpoint is at row {sample} of epoch {epoch}, which has {total}: it is damaged."
        )
    inside = sample % size if sample < total else 0
    if inside:
        logger.warning(
            "the checkpoint is at row %d of epoch %d, inside a global batch of %d: going back to row %d.",
            sample,
            epoch,
            size,
            sample - inside,
        )
    return {**state, "epoch": epoch, "sample_in_epoch": sample - inside}
