"""Token superposition for Composer: the functional forms, and the Algorithm that applies them to a run.

The functional forms import only torch; `TokenSuperposition` loads Composer when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from .adapter import Head, ModelAdapter, register_adapter
from .batch import BatchLayout
from .fold import (
    fold_bags,
    fold_mask,
    fold_position_ids,
    fold_sequence_id,
    next_bag_targets,
    next_window_targets,
    superpose,
)
from .loss import linear_multi_hot_cross_entropy, multi_hot_cross_entropy, sum_to_one_cross_entropy
from .weights import WEIGHTINGS, bag_weights

if TYPE_CHECKING:
    from .algorithm import TokenSuperposition

__all__ = [
    "WEIGHTINGS",
    "BatchLayout",
    "Head",
    "ModelAdapter",
    "TokenSuperposition",
    "bag_weights",
    "fold_bags",
    "fold_mask",
    "fold_position_ids",
    "fold_sequence_id",
    "linear_multi_hot_cross_entropy",
    "multi_hot_cross_entropy",
    "next_bag_targets",
    "next_window_targets",
    "register_adapter",
    "sum_to_one_cross_entropy",
    "superpose",
]


def __getattr__(name: str) -> Any:
    if name == "TokenSuperposition":
        from .algorithm import TokenSuperposition

        return TokenSuperposition
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
