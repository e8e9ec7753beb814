"""Any other decoder's shape: transformers builds it without memory, and its weights are counted."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from .shapes import ModelShape

__all__ = ["measured_shape"]


def measured_shape(config: Mapping[str, Any]) -> ModelShape:
    """Build the model of a Hugging Face config without memory and count its weights by what they do.

    Raises:
        ValueError: transformers has no such decoder, or its experts are not the kind that can be told apart
        here.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = dict(config)
    try:
        hf_config = AutoConfig.for_model(fields.pop("model_type"), **fields)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(hf_config)
    except (ValueError, KeyError, TypeError) as error:
        first_line = str(error).splitlines()[0]
        raise ValueError(
            f"transformers cannot build a causal language model from the config with model_type "
            f"{config['model_type']!r}: {first_line} Give the config.json of a decoder, or a recipe."
        ) from None
    text = hf_config.get_text_config()
    total = sum(weight.numel() for weight in model.parameters())
    matmul, inactive = _count_matmuls(model, text)
    embedding = model.get_input_embeddings().weight
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return ModelShape(
        model_type=config["model_type"],
        vocab_size=embedding.shape[0],
        hidden_size=text.hidden_size,
        num_layers=text.num_hidden_layers,
        attention_size=text.num_attention_heads * head_dim,
        total_params=total,
        embedding_params=embedding.numel(),
        inactive_params=inactive,
        matmul_params=matmul,
    )


def _count_matmuls(model: Any, config: Any) -> tuple[int, int]:
    """Return the weights a token is multiplied with, and those of experts it does not visit."""
    import torch
    from transformers.pytorch_utils import Conv1D

    matmul = inactive = Fraction()
    for name, module in model.named_modules():
        if any(weight.ndim > 2 for weight in module.parameters(recurse=False)):
            raise ValueError(
                f"{type(model).__name__}.{name} keeps several matrices in one weight, so the active experts "
                f"of {config.model_type!r} cannot be counted. Give a config of llama, mistral, mixtral, "
                "qwen3 or qwen3_moe."
            )
        if not isinstance(module, torch.nn.Linear | Conv1D):
            continue
        weights = module.weight.numel()
        if ".experts." not in name:
            matmul += weights
            continue
        experts = len(model.get_submodule(name[: name.index(".experts.") + len(".experts")]))
        visited = Fraction(weights * config.num_experts_per_tok, experts)
        matmul += visited
        inactive += weights - visited
    return int(matmul), int(inactive)
