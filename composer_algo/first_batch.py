"""What the first superposed batch tells of a run that is wired wrongly."""

import math
import warnings

import torch

__all__ = ["check_ids", "warn_of_first_loss"]

# A random model's first loss is log(V) to a few per cent; one that is further off is probably wired wrongly.
FIRST_LOSS_TOLERANCE = 0.1


def check_ids(ids: torch.Tensor, vocab_size: int) -> None:
    """Raise ValueError when the data's ids are not all in the model's vocabulary."""
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab_size:
        raise ValueError(
            f"the first batch holds ids {low}..{high}; the model's vocabulary is 0..{vocab_size - 1}. Train "
            "with the tokenizer the data were prepared with, or give the model config its vocab_size."
        )


def warn_of_first_loss(mce: float, vocab_size: int, z_loss: float = 0.0) -> None:
    """Warn when the first multi-hot loss of fresh weights is far from log(V), and its z-loss from log(V)²."""
    uniform = math.log(vocab_size)
    expected = uniform + z_loss * uniform**2
    if abs(mce - expected) > FIRST_LOSS_TOLERANCE * expected:
        made_of = "log(V)" + (f" + {z_loss}·log(V)²" if z_loss else "")
        warnings.warn(
            f"the first superposition/mce is {mce:.3f}; random weights over {vocab_size} tokens give about "
            f"{made_of} = {expected:.3f}. Check the model's initialisation, and that labels are unshifted.",
            stacklevel=2,
        )
