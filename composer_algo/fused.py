"""Chunked kernels of the multi-hot losses: they hold no ``[N, V]`` tensor but the gradient of the logits.

Letters: N positions, C positions in one chunk, S tokens in a bag, D width, V vocabulary.

Every loss here is a small function of two things a position's logits z give: logsumexp(z) and the s logits
z[y_i]. So the kernels compute these two, whatever s is; what is built on them is ordinary torch on ``[N]``
and ``[N, S]`` tensors. They are registered operators, not bare autograd Functions: `torch.compile` then sees
one node (fullgraph, any shape) instead of unrolling the loop over chunks.
"""

import math

import torch

__all__ = ["linear_multi_hot", "logsumexp_and_pick"]

# Logits worked on at one time. On a CPU the float32 copies of a chunk should stay in the cache: 2^18 to 2^20
# are equally fast, and from 2^21 all passes take 10 to 50 % longer (1 MB of L2, 32 MB of L3).
# Elsewhere few large launches are better; this was not tuned on a GPU.
CPU_CHUNK_ELEMENTS = 2**19
DEVICE_CHUNK_ELEMENTS = 2**26
# Logits that exist at one time in the linear form: 268 MB in float32. With fewer positions in a chunk, adding
# to the weight's gradient (V x D read and written once a chunk) would weigh against its matrix product.
LINEAR_CHUNK_ELEMENTS = 2**26
# ... and there are at least so many chunks, so that a small N is no exception to what memory is promised.
MIN_CHUNKS = 8
LINEAR_MIN_CHUNKS = 4
# Rows of the weight's gradient made at one time when it is accumulated wider than it is computed.
VOCABULARY_BLOCK = 2048


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype losses are computed in: float32, or float64 when the values are float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@torch.library.custom_op("composer_algo::logsumexp_and_pick", mutates_args=())
def logsumexp_and_pick(
    logits_NV: torch.Tensor, targets_NS: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logsumexp over the vocabulary ``[N]`` and the logits of the targets ``[N, S]``, in float32.

    Float64 stays float64. Targets are int64 within the vocabulary: what is ignored is the caller's affair.
    The backward pass makes the gradient of the logits chunk by chunk from the logits themselves; where both
    incoming gradients of a position are zero, so is its gradient, even if its logits are not finite.
    """
    wide = accumulation_dtype(logits_NV.dtype)
    lse_N = logits_NV.new_empty(logits_NV.shape[0], dtype=wide)
    rows = _positions_at_once(logits_NV)
    for chunk_CV, lse_C in zip(logits_NV.split(rows), lse_N.split(rows), strict=True):
        torch.logsumexp(chunk_CV.to(wide), dim=-1, out=lse_C)
    return lse_N, logits_NV.gather(-1, targets_NS).to(wide, copy=True)


@logsumexp_and_pick.register_fake
def _(logits_NV: torch.Tensor, targets_NS: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    wide = accumulation_dtype(logits_NV.dtype)
    return logits_NV.new_empty(logits_NV.shape[0], dtype=wide), logits_NV.new_empty(
        targets_NS.shape, dtype=wide
    )


@torch.library.custom_op("composer_algo::logsumexp_and_pick_backward", mutates_args=())
def logsumexp_and_pick_backward(
    grad_lse_N: torch.Tensor, grad_picked_NS: torch.Tensor, logits_NV: torch.Tensor, targets_NS: torch.Tensor
) -> torch.Tensor:
    """Return the gradient of the logits: grad_lse · softmax(z), with grad_picked added at the targets."""
    grad_NV = torch.empty_like(logits_NV)
    rows = _positions_at_once(logits_NV)
    pieces = (x.split(rows) for x in (logits_NV, grad_lse_N, grad_picked_NS, targets_NS, grad_NV))
    for chunk_CV, grad_lse_C, grad_picked_CS, targets_CS, out_CV in zip(*pieces, strict=True):
        wide_CV = chunk_CV.to(grad_lse_N.dtype)
        out_CV.copy_(_logit_gradient(wide_CV, grad_lse_C, grad_picked_CS, targets_CS))
    return grad_NV


@logsumexp_and_pick_backward.register_fake
def _(
    grad_lse_N: torch.Tensor, grad_picked_NS: torch.Tensor, logits_NV: torch.Tensor, targets_NS: torch.Tensor
) -> torch.Tensor:
    return torch.empty_like(logits_NV)


def _save_logits(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs)


def _logits_backward(ctx, grad_lse_N, grad_picked_NS):  # type: ignore[no-untyped-def]
    return logsumexp_and_pick_backward(grad_lse_N, grad_picked_NS, *ctx.saved_tensors), None


def _refuse_second_derivative(*_: object) -> None:
    raise RuntimeError(
        "the multi-hot losses were differentiated twice; their kernels have first derivatives only. To "
        "differentiate twice use composer_algo.loss.readable_multi_hot_cross_entropy (or "
        "readable_sum_to_one_cross_entropy) on the logits."
    )


logsumexp_and_pick.register_autograd(_logits_backward, setup_context=_save_logits)
logsumexp_and_pick_backward.register_autograd(_refuse_second_derivative)


@torch.library.custom_op("composer_algo::linear_multi_hot", mutates_args=())
def linear_multi_hot(
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    targets_NS: torch.Tensor,
    shares_NS: torch.Tensor,
    compute_dtype: torch.dtype,
    softcap: float,
    z_loss: float,
    hidden_grad: bool,
    weight_grad: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return Σ share · nll (+ z-loss) of ``hidden @ weight.T``, and the gradients of hidden and weight.

    One pass: a chunk's logits become, in their own memory, their gradient, from which both others are taken.
    The gradients are outputs only to be kept for the backward pass; empty where not asked for.

    Args:
        hidden_ND: the hidden states.
        weight_VD: the output embedding.
        targets_NS: int64, within the vocabulary.
        shares_NS: what each target's nll is multiplied with, float32 (float64 for float64); 0 where ignored.
        compute_dtype: the dtype of the matrix products (that of the inputs, or autocast's).
        softcap: logits become softcap · tanh(logits / softcap); 0 for none.
        z_loss: factor of the squared logsumexp; 0 for none.
        hidden_grad: whether the gradient of hidden will be needed.
        weight_grad: whether the gradient of weight will be needed.
    """
    hidden, weight = hidden_ND.to(compute_dtype), weight_VD.to(compute_dtype)
    # A share is about 1 / N; float16 would lose a softmax's tail times that, so it gets shares of about 1.
    scale = max(1, len(hidden)) if compute_dtype == torch.float16 else 1
    loss = shares_NS.new_zeros(())
    grad_ND = hidden.new_empty(hidden.shape if hidden_grad else (0,), dtype=_kept_dtype(hidden_ND))
    grad_VD = weight.new_zeros(weight.shape if weight_grad else (0,), dtype=shares_NS.dtype)
    positions = _chunk_length(len(hidden), len(weight), LINEAR_CHUNK_ELEMENTS, LINEAR_MIN_CHUNKS)
    logits_CV = hidden.new_empty(min(positions, len(hidden)), len(weight))
    for start in range(0, len(hidden), positions):
        part = slice(start, start + positions)
        # An ignored position may hold anything, and 0 * nan would reach the gradient of every row of weight.
        hidden_CD = torch.where(shares_NS[part].any(dim=-1, keepdim=True), hidden[part], 0)
        chunk_CV = torch.mm(hidden_CD, weight.t(), out=logits_CV[: len(hidden_CD)])
        loss += _linear_chunk_(
            chunk_CV, targets_NS[part], shares_NS[part] * scale, softcap, z_loss, hidden_grad or weight_grad
        )
        if hidden_grad:
            grad_ND[part] = chunk_CV @ weight
        if weight_grad:
            _add_product_(grad_VD, chunk_CV, hidden_CD)
    if scale != 1:
        loss, grad_ND, grad_VD = loss / scale, grad_ND / scale, grad_VD / scale
    return loss, grad_ND, grad_VD.to(_kept_dtype(weight_VD))


@linear_multi_hot.register_fake
def _(hidden_ND, weight_VD, targets_NS, shares_NS, *options):  # type: ignore[no-untyped-def]
    hidden_grad, weight_grad = options[-2:]
    return (
        shares_NS.new_empty(()),
        hidden_ND.new_empty(hidden_ND.shape if hidden_grad else (0,), dtype=_kept_dtype(hidden_ND)),
        weight_VD.new_empty(weight_VD.shape if weight_grad else (0,), dtype=_kept_dtype(weight_VD)),
    )


def _save_gradients(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.set_materialize_grads(False)
    ctx.dtypes = inputs[0].dtype, inputs[1].dtype
    ctx.wanted = inputs[-2:]
    ctx.save_for_backward(*output[1:])


def _linear_backward(ctx, grad_loss, *grads_of_gradients):  # type: ignore[no-untyped-def]
    if any(grad is not None for grad in grads_of_gradients):
        _refuse_second_derivative()
    # Not in place: a graph that is retained may be walked again.
    grads = [
        (kept * grad_loss).to(dtype) if wanted and grad_loss is not None else None
        for kept, dtype, wanted in zip(ctx.saved_tensors, ctx.dtypes, ctx.wanted, strict=True)
    ]
    return *grads, *[None] * 7


linear_multi_hot.register_autograd(_linear_backward, setup_context=_save_gradients)


def _linear_chunk_(
    logits_CV: torch.Tensor,
    targets_CS: torch.Tensor,
    shares_CS: torch.Tensor,
    softcap: float,
    z_loss: float,
    want_gradient: bool,
) -> torch.Tensor:
    """Return the loss of a chunk; when wanted, put the gradient of its logits in the place of the logits."""
    rows = _positions_at_once(logits_CV)
    loss = shares_CS.new_zeros(())
    pieces = (x.split(rows) for x in (logits_CV, targets_CS, shares_CS))
    for block_CV, block_targets_CS, block_shares_CS in zip(*pieces, strict=True):
        wide_CV = block_CV.to(shares_CS.dtype)
        if softcap:
            tanh_CV = torch.tanh(wide_CV / softcap)
            wide_CV = tanh_CV * softcap
        share_C1 = block_shares_CS.sum(-1, keepdim=True)
        lse_C1 = torch.logsumexp(wide_CV, dim=-1, keepdim=True)
        picked_CS = wide_CV.gather(-1, block_targets_CS)
        loss += ((lse_C1 - picked_CS) * block_shares_CS).sum() + z_loss * (lse_C1.square() * share_C1).sum()
        if want_gradient:
            grad_lse_C = (share_C1 * (1 + 2 * z_loss * lse_C1)).squeeze(-1)
            grad_CV = _logit_gradient(wide_CV, grad_lse_C, -block_shares_CS, block_targets_CS)
            if softcap:
                grad_CV.mul_(1 - tanh_CV.square_())
            block_CV.copy_(grad_CV)
    return loss


def _logit_gradient(
    wide_CV: torch.Tensor, grad_lse_C: torch.Tensor, grad_picked_CS: torch.Tensor, targets_CS: torch.Tensor
) -> torch.Tensor:
    grad_CV = torch.softmax(wide_CV, dim=-1).mul_(grad_lse_C[:, None])
    # 0 * nan is nan: a position that is ignored must stay zero whatever its logits are. On a CPU filling
    # costs as much as the softmax and asking first costs nothing; on a device asking would wait for it.
    silent_C = grad_lse_C == 0
    if silent_C.device.type != "cpu" or silent_C.any():
        grad_CV.masked_fill_(silent_C[:, None], 0)
    return grad_CV.scatter_add_(-1, targets_CS, grad_picked_CS)


def _add_product_(sum_VD: torch.Tensor, grad_CV: torch.Tensor, hidden_CD: torch.Tensor) -> None:
    """Add ``grad.T @ hidden`` to the sum: by the product itself in one dtype, else block by block."""
    if sum_VD.dtype == grad_CV.dtype:
        sum_VD.addmm_(grad_CV.t(), hidden_CD)
        return
    blocks = zip(sum_VD.split(VOCABULARY_BLOCK), grad_CV.split(VOCABULARY_BLOCK, dim=-1), strict=True)
    for sum_BD, block_CB in blocks:
        sum_BD += block_CB.t() @ hidden_CD


def _positions_at_once(logits_NV: torch.Tensor) -> int:
    elements = CPU_CHUNK_ELEMENTS if logits_NV.device.type == "cpu" else DEVICE_CHUNK_ELEMENTS
    return _chunk_length(*logits_NV.shape, elements, MIN_CHUNKS)


def _chunk_length(num_positions: int, vocab_size: int, elements: int, min_chunks: int) -> int:
    return max(1, min(math.ceil(num_positions / min_chunks), elements // vocab_size))


def _kept_dtype(values: torch.Tensor) -> torch.dtype:
    """A gradient kept for the backward pass has its final dtype; float16's waits wide for the loss scale."""
    return torch.float32 if values.dtype == torch.float16 else values.dtype
