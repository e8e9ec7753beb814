"""A tiny model of every family, with fixed random weights."""

from typing import Any

import torch
import transformers
from composer.metrics.nlp import LanguageCrossEntropy
from composer.models import HuggingFaceModel

VOCABULARY, SEQ_LEN, BAG_SIZE = 61, 16, 4

SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
# Else out of the vocabulary, which transformers warns of.
SPECIAL = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
LLAMA_LIKE = {**SMALL, "intermediate_size": 48, "num_key_value_heads": 1}
LEARNED = {"max_position_embeddings": 64, "word_embed_proj_dim": 16, "ffn_dim": 48, "dropout": 0.0}
MOE = {"num_experts_per_tok": 2, "output_router_logits": True, "router_aux_loss_coef": 0.05}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", **LLAMA_LIKE},
    "qwen3": {"model_type": "qwen3", **LLAMA_LIKE, "head_dim": 16},
    "qwen3-moe": {
        "model_type": "qwen3_moe",
        **LLAMA_LIKE,
        "head_dim": 16,
        "moe_intermediate_size": 24,
        "num_experts": 4,
        **MOE,
    },
    "mixtral": {"model_type": "mixtral", **LLAMA_LIKE, "num_local_experts": 4, **MOE},
    "mistral": {"model_type": "mistral", **LLAMA_LIKE, "sliding_window": 8},
    # Embeddings scaled by their module, sliding and full attention in turn, capped logits.
    "gemma3": {
        "model_type": "gemma3_text",
        **LLAMA_LIKE,
        "head_dim": 16,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
        "final_logit_softcapping": 0.5,
    },
    "gpt2": {
        "model_type": "gpt2",
        "vocab_size": VOCABULARY,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": SEQ_LEN,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        **SPECIAL,
    },
    "gpt-neox": {"model_type": "gpt_neox", **SMALL, "intermediate_size": 48, "max_position_embeddings": 64},
    # Learned positions counted from the attention mask; a narrower embedding.
    "opt": {"model_type": "opt", **SMALL, **LEARNED, **SPECIAL},
    # Rotary positions in one layer of two.
    "smollm3": {"model_type": "smollm3", **LLAMA_LIKE, **SPECIAL, "no_rope_layers": [1, 0]},
    "olmo2": {"model_type": "olmo2", **LLAMA_LIKE, **SPECIAL},
    # A state space layer and an attention layer; the one decoder of transformers with a z-loss.
    "bamba": {
        "model_type": "bamba",
        **LLAMA_LIKE,
        "attn_layer_indices": [1],
        "mamba_n_heads": 4,
        "mamba_d_state": 8,
        "mamba_chunk_size": 8,
        "z_loss_coefficient": 0.05,
    },
}
# Every family both ways, whichever is its default.
TIED_AND_UNTIED = {
    f"{family}-{kind}": {**config, "tie_word_embeddings": kind == "tied"}
    for family, config in FAMILIES.items()
    for kind in ("tied", "untied")
}
CONFIGS = {**FAMILIES, **TIED_AND_UNTIED}


def make_hf_model(family: str = "llama", **changes: Any) -> transformers.PreTrainedModel:
    config = dict(CONFIGS[family], **changes)
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    )


def make_model(family: str = "llama", **changes: Any) -> HuggingFaceModel:
    """A Composer model with fixed random weights; every call returns the same ones."""
    return HuggingFaceModel(
        make_hf_model(family, **changes), tokenizer=None, use_logits=True, metrics=[LanguageCrossEntropy()]
    )
