"""How much each position in the predicted bag counts in the multi-hot loss."""

from collections.abc import Callable

import torch

from .fold import check_bag_size

__all__ = ["WEIGHTINGS", "bag_weights"]

# Position i runs 1..S, so that the first token is never divided by zero (the paper's definitions).
WEIGHTINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "uniform": torch.ones_like,
    "power_law": lambda i: 1.0 / i,
    "exponential": lambda i: torch.exp(-i),
    "first_token": lambda i: (i == 1).to(i.dtype),
}


def bag_weights(weighting: str, bag_size: int) -> torch.Tensor:
    """Return the weights of the positions in a bag: float32 ``[bag_size]``, summing to 1.

    ``uniform`` (1 each), ``power_law`` (1/i), ``exponential`` (e^-i) or ``first_token`` (only i = 1).

    >>> bag_weights("power_law", 2).tolist()
    [0.6666666865348816, 0.3333333432674408]

    Raises:
        ValueError: another name, or ``bag_size`` is not a whole number of at least 1.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(
            f"weighting is {weighting!r}; the weightings are {', '.join(WEIGHTINGS)}. "
            "Type weighting='uniform' for the paper's default."
        )
    raw_S = WEIGHTINGS[weighting](torch.arange(1, check_bag_size(bag_size) + 1, dtype=torch.float64))
    return (raw_S / raw_S.sum()).float()
