"""Tokens of text and equivalent tokens a second: in the superposition phase they differ by the bag size."""

from typing import Any

__all__ = ["throughput"]


def throughput(state: Any, growth: int) -> dict[str, float]:
    """Return the rates of the batch just trained, over all ranks; empty where tokens are not counted.

    ``data_tokens_per_sec`` is text read, ``equivalent_tokens_per_sec`` latent positions computed: s-tokens
    and tokens together, which all cost the same. ``growth``: tokens of text in a latent position.
    """
    tokens = int(state.timestamp.token) - int(state.previous_timestamp.token)
    seconds = state.timestamp.batch_wct.total_seconds()
    if tokens <= 0 or seconds <= 0:
        return {}
    return {
        "throughput/data_tokens_per_sec": tokens / seconds,
        "throughput/equivalent_tokens_per_sec": tokens / growth / seconds,
    }
