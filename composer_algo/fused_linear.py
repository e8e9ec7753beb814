"""The linear form of the multi-hot loss: hidden states and head in, loss and both gradients out, in one pass.

Letters: N positions, C positions in one chunk, P in a part of it, S tokens in a bag, D width, V vocabulary.
"""

import torch

from .fused import chunk_length, chunks_of, logit_gradient_, logsumexp_of, refuse_second_derivative

__all__ = ["linear_multi_hot"]

# Logits that exist at one time in the linear form: 268 MB in float32. With fewer positions in a chunk, adding
# to the weight's gradient (V x D read and written once a chunk) would weigh against its matrix product.
LINEAR_CHUNK_ELEMENTS = 2**26
# ... and there are at least so many chunks, so that a small N is no exception to what memory is promised.
LINEAR_MIN_CHUNKS = 4
# Rows of the weight's gradient made at one time when it is accumulated wider than it is computed.
VOCABULARY_BLOCK = 2048


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
    positions = chunk_length(len(hidden), len(weight), LINEAR_CHUNK_ELEMENTS, LINEAR_MIN_CHUNKS)
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
        refuse_second_derivative()
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
    loss = shares_CS.new_zeros(())
    for part, wide_CV, softmax_CV in chunks_of(logits_CV, shares_CS.dtype, softcap):
        shares_PS, targets_PS = shares_CS[part], targets_CS[part]
        lse_P, share_P = logsumexp_of(wide_CV, softmax_CV), shares_PS.sum(-1)
        nll_PS = lse_P[:, None] - wide_CV.gather(-1, targets_PS)
        loss += (nll_PS * shares_PS).sum() + z_loss * (lse_P.square() * share_P).sum()
        if want_gradient:
            grad_lse_P = share_P * (1 + 2 * z_loss * lse_P)
            grad_CV = logit_gradient_(softmax_CV, grad_lse_P, -shares_PS, targets_PS)
            if softcap:  # the derivative of the cap is 1 - tanh²
                grad_CV.mul_(1 - (wide_CV / softcap).square_())
            logits_CV[part] = grad_CV
    return loss


def _add_product_(sum_VD: torch.Tensor, grad_CV: torch.Tensor, hidden_CD: torch.Tensor) -> None:
    """Add ``grad.T @ hidden`` to the sum: by the product itself in one dtype, else block by block."""
    if sum_VD.dtype == grad_CV.dtype:
        sum_VD.addmm_(grad_CV.t(), hidden_CD)
        return
    blocks = zip(sum_VD.split(VOCABULARY_BLOCK), grad_CV.split(VOCABULARY_BLOCK, dim=-1), strict=True)
    for sum_BD, block_CB in blocks:
        sum_BD += block_CB.t() @ hidden_CD


def _kept_dtype(values: torch.Tensor) -> torch.dtype:
    """A gradient kept for the backward pass has its final dtype; float16's waits wide for the loss scale."""
    return torch.float32 if values.dtype == torch.float16 else values.dtype
