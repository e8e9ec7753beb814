"""A decoder's shape: the counts that its size and its FLOPs depend on, from a Hugging Face config."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ModelShape", "shape_of"]

# Families counted by the formula below; any other is built without memory and measured (`measured_shape.py`).
FAMILIES = ("llama", "mistral", "qwen3", "qwen3_moe")
NEEDED = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "tie_word_embeddings",
]
NEEDED_MOE = ["num_experts", "num_experts_per_tok", "moe_intermediate_size"]


@dataclass(frozen=True)
class ModelShape:
    """Parameter counts of a decoder, and the two sizes its attention scores depend on.

    ``embedding_params``: the input lookup table, no matrix multiplication. ``inactive_params``: weights of
    the experts that a token does not visit. ``matmul_params``: weights that one latent position is multiplied
    with: the head (tied or not), attention, feed-forward and router; of the experts only the visited ones.
    ``attention_size``: heads times head size, in one layer.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    attention_size: int
    total_params: int
    embedding_params: int
    inactive_params: int
    matmul_params: int

    @property
    def active_params(self) -> int:
        """All that one token meets, embedding and head included: the "A" of a name like 10B-A1B."""
        return self.total_params - self.inactive_params

    @property
    def active_non_embedding_params(self) -> int:
        """The active parameters without the input embedding and, where that is another table, the head."""
        head = self.vocab_size * self.hidden_size
        tables = self.embedding_params if self.is_tied else self.embedding_params + head
        return self.active_params - tables

    @property
    def is_tied(self) -> bool:
        """Whether the head is the input embedding."""
        return self.matmul_params > self.active_params - self.embedding_params


def shape_of(config: Mapping[str, Any]) -> ModelShape:
    """Return the shape of a Hugging Face config, given as the dict that its JSON or a run's YAML holds.

    Raises:
        ValueError: no `model_type`, or one that transformers cannot build or that cannot be counted.
    """
    if not config.get("model_type"):
        raise ValueError(
            f"the model config has no model_type (its keys: {', '.join(map(str, config)) or 'none'}), which "
            "names the architecture. Add one, such as model_type: llama."
        )
    needed = NEEDED + (NEEDED_MOE if config["model_type"] == "qwen3_moe" else [])
    # A key left out has a default that only transformers knows.
    if config["model_type"] in FAMILIES and all(config.get(key) is not None for key in needed):
        return _llama_like(config)
    from .measured_shape import measured_shape

    return measured_shape(config)


def _llama_like(config: Mapping[str, Any]) -> ModelShape:
    """Count by hand: RMS norms, grouped-query attention, gated feed-forward; Qwen3's norms and experts."""
    kind, D, V = config["model_type"], config["hidden_size"], config["vocab_size"]
    layers, heads, kv_heads = (
        config[key] for key in ("num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    )
    head_dim = config.get("head_dim") or D // heads
    attention = D * head_dim * (2 * heads + 2 * kv_heads)
    bias = head_dim * (heads + 2 * kv_heads) + D if config.get("attention_bias") else 0
    norms = 2 * D + (2 * head_dim if kind.startswith("qwen3") else 0)
    dense = 3 * D * config["intermediate_size"]
    dense_bias = 2 * config["intermediate_size"] + D if config.get("mlp_bias") else 0
    sparse = _num_sparse_layers(config) if kind == "qwen3_moe" else 0
    total = layers * (attention + bias + norms) + (layers - sparse) * (dense + dense_bias) + D
    matmul = layers * attention + (layers - sparse) * dense
    inactive = 0
    if sparse:
        expert, router = 3 * D * config["moe_intermediate_size"], D * config["num_experts"]
        visited = config["num_experts_per_tok"]
        total += sparse * (router + config["num_experts"] * expert)
        matmul += sparse * (router + visited * expert)
        inactive = sparse * (config["num_experts"] - visited) * expert
    table = V * D
    return ModelShape(
        model_type=kind,
        vocab_size=V,
        hidden_size=D,
        num_layers=layers,
        attention_size=heads * head_dim,
        total_params=total + (table if config["tie_word_embeddings"] else 2 * table),
        embedding_params=table,
        inactive_params=inactive,
        matmul_params=matmul + table,
    )


def _num_sparse_layers(config: Mapping[str, Any]) -> int:
    dense, step = set(config.get("mlp_only_layers") or ()), config.get("decoder_sparse_step") or 1
    return sum(layer not in dense and (layer + 1) % step == 0 for layer in range(config["num_hidden_layers"]))
