"""Chunked kernels of the multi-hot losses: they hold no ``[N, V]`` tensor but the gradient of the logits.

Letters: N positions, C positions in one chunk, S tokens in a bag, D width, V vocabulary.

Every loss here is a small function of two things a position's logits z give: logsumexp(z) and the s logits
z[y_i]. So the kernels compute these two, whatever s is; what is built on them is ordinary torch on ``[N]``
and ``[N, S]`` tensors. They are registered operators, not bare autograd Functions: `torch.compile` then sees
one node (fullgraph, any shape) instead of unrolling the loop over chunks.
"""

import math
from collections.abc import Iterator

import torch

__all__ = ["logsumexp_and_pick"]

# Logits worked on at one time. On a CPU the float32 copies of a chunk should stay in the cache: 2^18 to 2^20
# are equally fast, and from 2^21 all passes take 10 to 50 % longer (1 MB of L2, 32 MB of L3).
# Elsewhere few large launches are better; this was not tuned on a GPU.
CPU_CHUNK_ELEMENTS = 2**19
DEVICE_CHUNK_ELEMENTS = 2**26
# ... and there are at least so many chunks, so that a small N is no exception to what memory is promised.
MIN_CHUNKS = 8


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
    for part, wide_CV, softmax_CV in chunks_of(logits_NV, wide):
        lse_N[part] = logsumexp_of(wide_CV, softmax_CV)
    return lse_N, logits_NV.gather(-1, targets_NS).to(wide, copy=True)


@logsumexp_and_pick.register_fake
def _(logits_NV: torch.Tensor, targets_NS: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    wide = accumulation_dtype(logits_NV.dtype)
    lse_N = logits_NV.new_empty(logits_NV.shape[0], dtype=wide)
    return lse_N, logits_NV.new_empty(targets_NS.shape, dtype=wide)


@torch.library.custom_op("composer_algo::logsumexp_and_pick_backward", mutates_args=())
def logsumexp_and_pick_backward(
    grad_lse_N: torch.Tensor, grad_picked_NS: torch.Tensor, logits_NV: torch.Tensor, targets_NS: torch.Tensor
) -> torch.Tensor:
    """Return the gradient of the logits: grad_lse · softmax(z), with grad_picked added at the targets."""
    grad_NV = torch.empty_like(logits_NV)
    for part, _, softmax_CV in chunks_of(logits_NV, grad_lse_N.dtype):
        grad_NV[part] = logit_gradient_(softmax_CV, grad_lse_N[part], grad_picked_NS[part], targets_NS[part])
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


def refuse_second_derivative(*_: object) -> None:
    """Say what to use instead: differentiating a kernel's own gradient would silently leave terms out."""
    raise RuntimeError(
        "the multi-hot losses were differentiated twice; their kernels have first derivatives only. To "
        "differentiate twice use composer_algo.loss.readable_multi_hot_cross_entropy (or "
        "readable_sum_to_one_cross_entropy) on the logits."
    )


logsumexp_and_pick.register_autograd(_logits_backward, setup_context=_save_logits)
logsumexp_and_pick_backward.register_autograd(refuse_second_derivative)


def chunks_of(
    logits_NV: torch.Tensor, wide: torch.dtype, softcap: float = 0.0
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Yield the place of each chunk, its logits in the wide dtype and their softmax.

    Both are in buffers that the next chunk uses again: fresh memory costs more time here than arithmetic.
    """
    num_positions, vocab_size = logits_NV.shape
    elements = CPU_CHUNK_ELEMENTS if logits_NV.device.type == "cpu" else DEVICE_CHUNK_ELEMENTS
    length = chunk_length(num_positions, vocab_size, elements, MIN_CHUNKS)
    buffers_2CV = logits_NV.new_empty(2, length, vocab_size, dtype=wide)
    for start in range(0, num_positions, length):
        part = slice(start, start + length)
        wide_CV, softmax_CV = buffers_2CV[:, : len(logits_NV[part])]
        if softcap:
            wide_CV.copy_(logits_NV[part]).div_(softcap).tanh_().mul_(softcap)
        elif logits_NV.dtype == wide:
            wide_CV = logits_NV[part]
        else:
            wide_CV.copy_(logits_NV[part])
        yield part, wide_CV, torch.softmax(wide_CV, dim=-1, out=softmax_CV)


def logsumexp_of(logits_CV: torch.Tensor, softmax_CV: torch.Tensor) -> torch.Tensor:
    """Return logsumexp from the softmax: on a CPU that is one kernel, and costs half of torch.logsumexp.

    The largest probability is at least 1/V, so its log is as exact as that of the sum it was divided by.
    """
    return logits_CV.amax(dim=-1) - softmax_CV.amax(dim=-1).log()


def logit_gradient_(
    softmax_CV: torch.Tensor, grad_lse_C: torch.Tensor, grad_picked_CS: torch.Tensor, targets_CS: torch.Tensor
) -> torch.Tensor:
    """Turn softmax into the gradient of the logits, in its place."""
    grad_CV = softmax_CV.mul_(grad_lse_C[:, None])
    # 0 * nan is nan: a position that is ignored must stay zero whatever its logits are. On a CPU filling
    # costs as much as the softmax and asking first costs nothing; on a device asking would wait for it.
    silent_C = grad_lse_C == 0
    if silent_C.device.type != "cpu" or silent_C.any():
        grad_CV.masked_fill_(silent_C[:, None], 0)
    return grad_CV.scatter_add_(-1, targets_CS, grad_picked_CS)


def chunk_length(num_positions: int, vocab_size: int, elements: int, min_chunks: int) -> int:
    """Return positions in a chunk of so many elements at most, and of which there are so many at least."""
    return max(1, min(math.ceil(num_positions / min_chunks), elements // vocab_size))
