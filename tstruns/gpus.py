"""Peak speeds of GPUs in dense bfloat16 matrix multiplication, as their makers state them."""

import difflib

__all__ = ["PEAK_BF16_FLOPS", "peak_bf16_flops"]

# FLOP/s of one GPU. The makers' data sheets (A100, H100, H200, HGX/DGX B200, GB200, L40S; MI300X) print twice
# these numbers beside a footnote "with sparsity" where the hardware has it; training is dense.
PEAK_BF16_FLOPS = {
    "A100": 312e12,
    "H100": 989.4e12,  # SXM
    "H100-PCIe": 756e12,
    "H200": 989.4e12,
    "B200": 2.25e15,
    "GB200": 2.5e15,
    "L40S": 362e12,
    "MI300X": 1307.4e12,
}


def peak_bf16_flops(kind: str) -> float:
    """Return the peak of a kind of GPU in FLOP/s; the name's case does not matter."""
    names = {name.lower(): name for name in PEAK_BF16_FLOPS}
    if kind.lower() in names:
        return PEAK_BF16_FLOPS[names[kind.lower()]]
    near = difflib.get_close_matches(kind.lower(), names, n=1)
    hint = f"Did you mean --gpu {names[near[0]]}?" if near else "Type one of them, or plan without --gpu."
    raise ValueError(f"no GPU named {kind!r}; the peaks known are of {', '.join(PEAK_BF16_FLOPS)}. {hint}")
