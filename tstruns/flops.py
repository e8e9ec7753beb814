"""FLOPs of a training step, the same in both phases, and the GPU-hours they take.

Per latent position, forward and backward (Chowdhery et al., "PaLM", arXiv:2204.02311, appendix B; the 6 is
Kaplan et al., arXiv:2001.08361):

    6 * matmul_params  +  12 * layers * attention_size * L

Each multiply-add counts as two operations and the backward pass as two forward passes. `matmul_params`: the
embedding lookup is no multiplication, the head is one; of a mixture's experts only the visited ones and the
router. The second term is the scores and the weighted values of attention over all L positions, causal or
not, as PaLM counts them. Not counted: norms, softmax, the optimizer, recomputed activations.
"""

from .shapes import ModelShape

__all__ = ["averaging_additions", "flops_per_position", "flops_per_step", "gpu_hours"]


def flops_per_position(shape: ModelShape, latent_len: int) -> int:
    """Return the training FLOPs of one latent position in a row of ``latent_len`` positions."""
    return 6 * shape.matmul_params + 12 * shape.num_layers * shape.attention_size * latent_len


def flops_per_step(shape: ModelShape, *, rows: int, data_len: int, bag_size: int) -> int:
    """Return the training FLOPs of one optimizer step over ``rows`` rows of ``data_len`` tokens in bags.

    The transformer sees ``data_len / bag_size`` positions, so rows that are s times longer, in bags of s,
    cost the same.
    """
    assert data_len % bag_size == 0, (data_len, bag_size)
    latent_len = data_len // bag_size
    return rows * latent_len * flops_per_position(shape, latent_len)


def averaging_additions(shape: ModelShape, bag_size: int) -> int:
    """Return the additions a bag costs beside its FLOPs: s vectors summed forward, s scattered backward."""
    return 2 * bag_size * shape.hidden_size if bag_size > 1 else 0


def gpu_hours(flops: float, peak_flops: float, utilisation: float) -> float:
    """Return the GPU-hours of ``flops`` at a share ``utilisation`` of ``peak_flops`` a second."""
    return flops / (peak_flops * utilisation) / 3600
