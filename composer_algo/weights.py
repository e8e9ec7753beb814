"""How much each position in the predicted bag counts in the multi-hot loss."""

import math
from collections.abc import Callable, Sequence
from numbers import Real

import torch

from .fold import check_bag_size

__all__ = ["WEIGHTINGS", "bag_weights"]

# Position i runs 1..S, so that the first token is never divided by zero (the paper's definitions). It is also
# the distance from the last token of the bag seen to the token predicted, which is how `fitted` reads the
# paper's fit of the mutual information of two tokens at distance d in DCLM, 3.63 + 1.35·d^-1.25: a target
# counts in proportion to what is known about it. The fit is taken as it stands, so its constant keeps far
# tokens at three quarters of the first one's weight; without the constant, pass the list of i**-1.25.
WEIGHTINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "uniform": torch.ones_like,
    "power_law": lambda i: 1.0 / i,
    "exponential": lambda i: torch.exp(-i),
    "first_token": lambda i: (i == 1).to(i.dtype),
    "fitted": lambda i: 3.63 + 1.35 * i**-1.25,
}


def bag_weights(weighting: str | Sequence[float], bag_size: int) -> torch.Tensor:
    """Return the weights of the positions in a bag: float32 ``[bag_size]``, summing to 1.

    ``uniform`` (1 each), ``power_law`` (1/i), ``exponential`` (e^-i), ``first_token`` (only i = 1),
    ``fitted`` (3.63 + 1.35·i^-1.25), or ``bag_size`` numbers of your own, of which only the ratios matter.

    >>> bag_weights("power_law", 2).tolist()
    [0.6666666865348816, 0.3333333432674408]
    >>> bag_weights([3, 1], 2).tolist()
    [0.75, 0.25]

    Raises:
        ValueError: another name, or numbers that are negative, not finite, all zero or not ``bag_size`` many,
            or ``bag_size`` is not a whole number of at least 1.
    """
    check_bag_size(bag_size)
    if isinstance(weighting, str) and weighting in WEIGHTINGS:
        raw_S = WEIGHTINGS[weighting](torch.arange(1, bag_size + 1, dtype=torch.float64))
    else:
        raw_S = torch.tensor(_check_numbers(weighting, bag_size), dtype=torch.float64)
    return (raw_S / raw_S.sum()).float()


def _check_numbers(weighting: object, bag_size: int) -> list[float]:
    if isinstance(weighting, str) or not isinstance(weighting, Sequence):
        raise ValueError(
            f"weighting is {weighting!r}; the weightings are {', '.join(WEIGHTINGS)}, or a list of numbers. "
            "Type weighting='uniform' for the paper's default."
        )
    numbers: list[float] = list(weighting)
    if len(numbers) != bag_size:
        raise ValueError(
            f"weighting {numbers} has {len(numbers)} numbers; bag_size {bag_size} needs one for each token "
            f"of a bag. Give {bag_size} numbers, or a name: {', '.join(WEIGHTINGS)}."
        )
    for place, number in enumerate(numbers):
        if isinstance(number, bool) or not isinstance(number, Real) or not 0 <= float(number) < math.inf:
            raise ValueError(
                f"weighting {numbers} has {number!r} at place {place}; each must be a finite number of at "
                "least 0. Give 0 for a token that must not count."
            )
    if not any(numbers):
        raise ValueError(
            f"weighting {numbers} is zero everywhere: nothing would be predicted. Make one number positive."
        )
    return numbers
