"""The dumbest correct code for each law, to hold the real code to. One section for each area."""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

# --- composer_algo: folding, weights and the multi-hot loss -------------------------------------------


def fold_bags(rows: list[list[int]], bag_size: int) -> list[list[list[int]]]:
    return [[row[start : start + bag_size] for start in range(0, len(row), bag_size)] for row in rows]


def next_bag_targets(labels: list[list[int]], bag_size: int, ignore_index: int) -> list[list[list[int]]]:
    last = [ignore_index] * bag_size
    return [[*bags[1:], last] for bags in fold_bags(labels, bag_size)]


def next_window_targets(labels: list[list[int]], bag_size: int, ignore_index: int) -> list[list[list[int]]]:
    return [
        [
            [row[at] if at < len(row) else ignore_index for at in range(token + 1, token + 1 + bag_size)]
            for token in range(len(row))
        ]
        for row in labels
    ]


def bag_weights(weighting: str, bag_size: int) -> list[float]:
    formula = {
        "uniform": lambda i: 1,
        "power_law": lambda i: 1 / i,
        "exponential": lambda i: math.exp(-i),
        "first_token": lambda i: 1 if i == 1 else 0,
    }[weighting]
    raw = [formula(i) for i in range(1, bag_size + 1)]
    return [value / sum(raw) for value in raw]


def multi_hot_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """One ordinary cross-entropy for each position in the bag, pooled over what is not ignored (-100)."""
    total, valid_weight = 0.0, 0.0
    for i, weight in enumerate(weights):
        target = targets[..., i].flatten()
        total = total + weight * F.cross_entropy(logits.flatten(0, -2), target, reduction="sum")
        valid_weight = valid_weight + weight * (target != -100).sum()
    return total / valid_weight
