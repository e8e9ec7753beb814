"""Multi-hot cross-entropy (MCE): one vector of logits predicts every token of a bag.

Letters: N positions, S tokens in a bag, D width, V vocabulary.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch.utils.checkpoint import checkpoint

from .fold import INTEGER_DTYPES

__all__ = ["linear_multi_hot_cross_entropy", "multi_hot_cross_entropy"]

# Positions whose logits exist at one time in the linear form. At V = 128,256 that is 131 MB in float32.
CHUNK_POSITIONS = 256


def multi_hot_cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor | None = None,
    ignore_index: int = -100,
) -> torch.Tensor:
    """Weighted cross-entropy of each position's logits against every token of its target bag.

    The value is Σ w_i·nll over the valid targets / Σ w_i over the valid targets, pooled over all positions;
    with nothing valid it is 0 and its gradients are zeros. Computed in float32 (float64 stays float64).

    Args:
        logits: ``[..., V]``, floating point.
        targets: ``[..., S]`` token ids, same leading shape, ``ignore_index`` where there is no target.
        weights: ``[S]``, the weight of each position in the bag (see :func:`bag_weights`); None: uniform.
        ignore_index: the target value that drops out.

    Raises:
        ValueError: shapes or dtypes that do not fit, or (on CPU) a target outside ``0..V-1``.
    """
    weights = _check(logits, targets, weights)
    _check_ids(targets, logits.shape[-1], ignore_index)
    summed, weight = _sums(logits.flatten(0, -2), targets.flatten(0, -2), weights, ignore_index)
    return summed / torch.where(weight > 0, weight, torch.ones_like(weight))


def linear_multi_hot_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor | None = None,
    ignore_index: int = -100,
) -> torch.Tensor:
    """:func:`multi_hot_cross_entropy` of ``hidden @ weight.T``, without ever holding all ``[N, V]`` logits.

    Logits are made for a few hundred positions at a time and made again in the backward pass: the readable
    form, which trades one more matrix product for the memory.

    Args:
        hidden: ``[..., D]``, the last hidden states.
        weight: ``[V, D]``, the output embedding (``lm_head.weight``).
        targets: ``[..., S]``, as in :func:`multi_hot_cross_entropy`.
        weights: as there.
        ignore_index: as there.

    Raises:
        ValueError: shapes or dtypes that do not fit, or (on CPU) a target outside ``0..V-1``.
    """
    if weight.ndim != 2 or hidden.shape[-1:] != weight.shape[1:]:
        raise ValueError(
            f"hidden has shape {list(hidden.shape)} and weight {list(weight.shape)}; they must be [..., D] "
            "and [V, D] with the same D. Pass the output embedding as it is stored (lm_head.weight), not "
            "transposed."
        )
    weights = _check(hidden, targets, weights)
    _check_ids(targets, weight.shape[0], ignore_index)

    def chunk_sums(hidden_ND: torch.Tensor, targets_NS: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _sums(F.linear(hidden_ND, weight), targets_NS, weights, ignore_index)

    chunks = zip(
        hidden.flatten(0, -2).split(CHUNK_POSITIONS),
        targets.flatten(0, -2).split(CHUNK_POSITIONS),
        strict=True,
    )
    # No randomness inside, so the random state need not be kept for the second forward.
    parts = [
        checkpoint(chunk_sums, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks
    ]
    summed = torch.stack([part[0] for part in parts]).sum()
    valid_weight = torch.stack([part[1] for part in parts]).sum()
    return summed / torch.where(valid_weight > 0, valid_weight, torch.ones_like(valid_weight))


def _sums(
    logits_NV: torch.Tensor, targets_NS: torch.Tensor, weights_S: torch.Tensor, ignore_index: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return Σ w_i·nll and Σ w_i over the valid targets, both scalars of the loss dtype."""
    # log_softmax + gather keeps 3 fp32 [N, V] alive, logsumexp - gather 5 in eager mode (architecture.md).
    log_probs_NV = F.log_softmax(logits_NV, dim=-1, dtype=weights_S.dtype)
    valid_NS = targets_NS != ignore_index
    nll_NS = -log_probs_NV.gather(-1, torch.where(valid_NS, targets_NS, 0).long())
    zero = nll_NS.new_zeros(())
    # where, not a product with 0: an ignored position whose logits are not finite must stay out of the sum.
    return (
        torch.where(valid_NS, nll_NS * weights_S, zero).sum(),
        torch.where(valid_NS, weights_S.expand_as(nll_NS), zero).sum(),
    )


def _check(values: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Check shapes and dtypes; return the weights on the values' device in the dtype of the loss."""
    if not values.is_floating_point():
        raise ValueError(
            f"logits are {values.dtype}; they must be floating point. Pass the model's raw scores."
        )
    if targets.dtype not in INTEGER_DTYPES:
        raise ValueError(
            f"targets are {targets.dtype}; they must be token ids. Pass int64, as next_bag_targets returns."
        )
    if values.ndim < 2 or targets.shape[:-1] != values.shape[:-1] or targets.shape[-1] == 0:
        raise ValueError(
            f"logits or hidden states have shape {list(values.shape)} and targets {list(targets.shape)}; "
            "all but the last dimension must agree, and targets need one more dimension [..., S] even when "
            "S is 1. Make them with next_bag_targets(labels, bag_size)."
        )
    bag_size = targets.shape[-1]
    wide = torch.float64 if values.dtype == torch.float64 else torch.float32
    if weights is None:
        return values.new_full((bag_size,), 1 / bag_size, dtype=wide)
    if weights.shape != (bag_size,) or not weights.is_floating_point():
        raise ValueError(
            f"weights are {weights.dtype} of shape {list(weights.shape)}; targets have {bag_size} tokens a "
            f"bag, so they must be floating point [{bag_size}]. Make them with bag_weights(weighting, "
            f"{bag_size})."
        )
    return weights.to(device=values.device, dtype=wide)


def _check_ids(targets: torch.Tensor, vocab_size: int, ignore_index: int) -> None:
    # Off the CPU this would wait for the device at every step; there gather itself asserts on the device.
    if targets.device.type != "cpu" or torch.compiler.is_compiling():
        return
    wrong = (targets != ignore_index) & ((targets < 0) | (targets >= vocab_size))
    if wrong.any():
        place = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"target {targets[tuple(place)].item()} at position {place} is outside the vocabulary "
            f"0..{vocab_size - 1} and is not ignore_index {ignore_index}. Check that data and model use the "
            "same tokenizer."
        )
