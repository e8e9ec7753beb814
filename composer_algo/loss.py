"""Multi-hot cross-entropy (MCE): one vector of logits predicts every token of a bag.

The public functions run the chunked kernels of :mod:`composer_algo.fused`. The `readable_` functions say the
same in plain torch, hold several ``[N, V]`` tensors, and are what the tests hold the kernels to.

Letters: N positions, S tokens in a bag, D width, V vocabulary.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from .fold import INTEGER_DTYPES
from .fused import accumulation_dtype, logsumexp_and_pick
from .fused_linear import linear_multi_hot

__all__ = [
    "linear_multi_hot_cross_entropy",
    "multi_hot_cross_entropy",
    "readable_multi_hot_cross_entropy",
    "readable_sum_to_one_cross_entropy",
    "sum_to_one_cross_entropy",
]


def multi_hot_cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor | None = None,
    ignore_index: int = -100,
    *,
    z_loss: float = 0.0,
) -> torch.Tensor:
    """Weighted cross-entropy of each position's logits against every token of its target bag.

    The value is Σ w_i·nll over the valid targets / Σ w_i over the valid targets, pooled over all positions;
    with nothing valid it is 0 and its gradients are zeros. Computed in float32 (float64 stays float64).
    A token that is twice in a bag counts twice. Time and memory do not depend on S; only the gradient of the
    logits is of size ``[N, V]``.

    Args:
        logits: ``[..., V]``, floating point.
        targets: ``[..., S]`` token ids, same leading shape, ``ignore_index`` where there is no target.
        weights: ``[S]``, the weight of each position in the bag (see :func:`bag_weights`); None: uniform.
        ignore_index: the target value that drops out.
        z_loss: adds z_loss·logsumexp(logits)², each position weighted as its valid targets are together.

    Raises:
        ValueError: shapes or dtypes that do not fit, or (on CPU) a target outside ``0..V-1``.
    """
    weights = _check(logits, targets, weights)
    _check_ids(targets, logits.shape[-1], ignore_index)
    ids_NS, shares_NS = _ids_and_shares(targets, weights, ignore_index)
    lse_N, picked_NS = logsumexp_and_pick(logits.flatten(0, -2), ids_NS)
    # where, not a product with 0: an ignored position whose logits are not finite must stay out of the sum.
    nll_NS = torch.where(shares_NS != 0, lse_N[:, None] - picked_NS, 0) * shares_NS
    if z_loss == 0:
        return nll_NS.sum()
    share_N = shares_NS.sum(-1)
    return nll_NS.sum() + z_loss * (torch.where(share_N != 0, lse_N, 0).square() * share_N).sum()


def linear_multi_hot_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor | None = None,
    ignore_index: int = -100,
    *,
    softcap: float | None = None,
    z_loss: float = 0.0,
) -> torch.Tensor:
    """:func:`multi_hot_cross_entropy` of ``hidden @ weight.T``, without ever holding all ``[N, V]`` logits.

    The gradients of hidden and weight are computed chunk by chunk in the forward pass, if they are needed,
    and kept until the backward pass. Each product is made in the dtype of the inputs (under autocast, in
    its dtype), the loss and the sum of the weight's gradient over chunks in float32.

    Args:
        hidden: ``[..., D]``, the last hidden states.
        weight: ``[V, D]``, the output embedding (``lm_head.weight``).
        targets: ``[..., S]``, as in :func:`multi_hot_cross_entropy`.
        weights: as there.
        ignore_index: as there.
        softcap: logits become softcap·tanh(logits / softcap), as Gemma's ``final_logit_softcapping``.
        z_loss: as there, of the soft-capped logits.

    Raises:
        ValueError: shapes or dtypes that do not fit, or (on CPU) a target outside ``0..V-1``.
        RuntimeError: it is differentiated twice.
    """
    if weight.ndim != 2 or hidden.shape[-1:] != weight.shape[1:]:
        raise ValueError(
            f"hidden has shape {list(hidden.shape)} and weight {list(weight.shape)}; they must be [..., D] "
            "and [V, D] with the same D. Pass the output embedding as it is stored (lm_head.weight), not "
            "transposed."
        )
    if softcap is not None and softcap <= 0:
        raise ValueError(
            f"softcap is {softcap}; it must be positive. Pass softcap=None for logits without a cap."
        )
    weights = _check(hidden, targets, weights)
    _check_ids(targets, weight.shape[0], ignore_index)
    ids_NS, shares_NS = _ids_and_shares(targets, weights, ignore_index)
    recording = torch.is_grad_enabled()
    loss, _, _ = linear_multi_hot(
        hidden.flatten(0, -2),
        weight,
        ids_NS,
        shares_NS,
        _product_dtype(hidden, weight),
        softcap or 0.0,
        z_loss,
        recording and hidden.requires_grad,
        recording and weight.requires_grad,
    )
    return loss


def sum_to_one_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, ignore_index: int = -100
) -> torch.Tensor:
    """Return −log of the probability mass on a bag's set of tokens (the paper's MCEAlt), mean over positions.

    logsumexp(z) − logsumexp over the bag's distinct valid tokens of z: it asks that the bag's probabilities
    sum to one, however they are spread. Positions without a valid target drop out; with none left it is 0 and
    its gradients are zeros. Shapes, dtypes and memory as in :func:`multi_hot_cross_entropy`.

    Raises:
        ValueError: as there.
    """
    _check(logits, targets, None)
    _check_ids(targets, logits.shape[-1], ignore_index)
    targets_NS = targets.flatten(0, -2).sort(dim=-1).values
    repeated_NS = F.pad(targets_NS[:, 1:] == targets_NS[:, :-1], (1, 0))
    counts_NS = (targets_NS != ignore_index) & ~repeated_NS
    valid_N = counts_NS.any(dim=-1)
    lse_N, picked_NS = logsumexp_and_pick(logits.flatten(0, -2), torch.where(counts_NS, targets_NS, 0).long())
    bag_NS = torch.where(counts_NS, picked_NS, float("-inf"))
    # A position without targets would be logsumexp of nothing, whose gradient is nan: it gets zeros to sum.
    bag_N = torch.where(valid_N[:, None], bag_NS, 0).logsumexp(dim=-1)
    return torch.where(valid_N, lse_N - bag_N, 0).sum() / valid_N.sum().clamp(min=1)


def readable_multi_hot_cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor | None = None,
    ignore_index: int = -100,
    *,
    z_loss: float = 0.0,
) -> torch.Tensor:
    """:func:`multi_hot_cross_entropy` as log_softmax and gather: the reference, differentiable twice."""
    weights = _check(logits, targets, weights)
    _check_ids(targets, logits.shape[-1], ignore_index)
    valid = targets != ignore_index
    log_probs = F.log_softmax(logits, dim=-1, dtype=weights.dtype)
    nll = -log_probs.gather(-1, torch.where(valid, targets, 0).long())
    if z_loss:
        nll = nll + z_loss * logits.to(weights.dtype).logsumexp(dim=-1, keepdim=True).square()
    weighted = torch.where(valid, nll * weights, 0).sum()
    total = torch.where(valid, weights, 0).sum()
    return weighted / torch.where(total > 0, total, 1)


def readable_sum_to_one_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, ignore_index: int = -100
) -> torch.Tensor:
    """:func:`sum_to_one_cross_entropy` with the set of tokens laid out over the vocabulary: the reference."""
    wide = _check(logits, targets, None).dtype
    _check_ids(targets, logits.shape[-1], ignore_index)
    vocabulary = torch.arange(logits.shape[-1], device=logits.device)
    in_bag = (targets[..., None] == vocabulary).any(dim=-2)
    valid = in_bag.any(dim=-1)
    log_probs = F.log_softmax(logits[valid], dim=-1, dtype=wide)
    log_mass = log_probs.masked_fill(~in_bag[valid], float("-inf")).logsumexp(dim=-1)
    return -log_mass.sum() / valid.sum().clamp(min=1)


def _ids_and_shares(
    targets: torch.Tensor, weights_S: torch.Tensor, ignore_index: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return int64 ids ``[N, S]`` without ignored values, and each one's share in the mean (0: ignored)."""
    targets_NS = targets.flatten(0, -2)
    valid_NS = targets_NS != ignore_index
    weights_NS = torch.where(valid_NS, weights_S, 0)
    total = weights_NS.sum()
    return torch.where(valid_NS, targets_NS, 0).long(), weights_NS / torch.where(total > 0, total, 1)


def _product_dtype(hidden: torch.Tensor, weight: torch.Tensor) -> torch.dtype:
    """Return the dtype in which F.linear would multiply the two."""
    device = hidden.device.type
    if torch.is_autocast_enabled(device) and torch.float64 not in (hidden.dtype, weight.dtype):
        return torch.get_autocast_dtype(device)
    if hidden.dtype != weight.dtype:
        raise ValueError(
            f"hidden is {hidden.dtype} and weight {weight.dtype}; outside autocast they must be the same. "
            "Cast one of them, or run under torch.autocast."
        )
    return hidden.dtype


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
    wide = accumulation_dtype(values.dtype)
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
