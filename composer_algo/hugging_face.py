"""Hugging Face causal language models in Composer's `HuggingFaceModel`, LLM Foundry's MPT among them.

Letters: B rows, L latent positions, S tokens in a bag, D width.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from composer.models import HuggingFaceModel

from .adapter import Head, ModelAdapter, register_adapter
from .batch import BatchLayout
from .fold import superpose

__all__ = ["HuggingFaceAdapter", "MPTAdapter"]

# Models whose logits are their output embedding times the hidden states, then soft-capped where the config
# says so, and nothing else; tests hold each to it. Others may scale, and go by way of their logits.
PLAIN_HEADS = {
    "bamba",
    "gemma3_text",
    "gpt2",
    "gpt_neox",
    "llama",
    "mistral",
    "mixtral",
    "olmo2",
    "opt",
    "qwen3",
    "qwen3_moe",
    "smollm3",
}


class HuggingFaceAdapter(ModelAdapter):
    """A causal language model in `HuggingFaceModel`: bags enter as ``inputs_embeds``."""

    model: HuggingFaceModel

    def __init__(self, model: HuggingFaceModel) -> None:
        super().__init__(model)
        inputs = frozenset(model.model_forward_args) - {"input_ids", "labels"}
        self.layout = BatchLayout(inputs=inputs)

    def embedding(self) -> torch.nn.Embedding:
        """Return the input embedding; ValueError when the model does not say what it is."""
        try:
            embedding = self.model.model.get_input_embeddings()
        except (AttributeError, NotImplementedError):
            embedding = None
        if not hasattr(embedding, "num_embeddings"):
            raise ValueError(
                f"{type(self.model.model).__name__}.get_input_embeddings() gives no embedding table, so bags "
                "of its embeddings cannot be averaged. Define it as in transformers.PreTrainedModel, "
                "returning the torch.nn.Embedding."
            )
        return embedding

    def logits(self, outputs: Any) -> torch.Tensor:
        """Return the logits of a model called without labels."""
        logits: torch.Tensor = outputs["logits"] if self.model.config.use_return_dict else outputs[0]
        return logits

    def auxiliary_losses(self, outputs: Any) -> dict[str, torch.Tensor]:
        """Return what a mixture of experts would itself add to its loss, had it been given labels."""
        auxiliary = outputs.get("aux_loss") if isinstance(outputs, Mapping) else None
        if auxiliary is None:
            return {}
        for name in ("router_aux_loss_coef", "aux_loss_coef"):
            if hasattr(self.model.model, name):
                return {"router_auxiliary": getattr(self.model.model, name) * auxiliary}
        raise ValueError(
            f"{type(self.model.model).__name__} returned an auxiliary loss but has no router_aux_loss_coef "
            "to weigh it with. Set output_router_logits=False in its config to train without the auxiliary "
            "loss."
        )

    @property
    def z_loss(self) -> float:
        """The factor of Bamba's z-loss, which its forward adds only where it is given labels."""
        return float(getattr(self.model.config, "z_loss_coefficient", None) or 0)

    def head(self) -> Head | None:
        """Return the output embedding of a model known to add nothing to it, else None."""
        head, config = self.model.model.get_output_embeddings(), self.model.config
        plain = type(head) is torch.nn.Linear and head.bias is None
        if not plain or config.model_type not in PLAIN_HEADS or not config.use_return_dict:
            return None
        return Head(head, softcap=getattr(config, "final_logit_softcapping", None))

    def take_bags(self) -> bool:
        """Put a hook before the model's forward: 3-D ids become averaged ``inputs_embeds``."""
        # On the model and not on its embedding: tied models use the embedding module for their logits too.
        self.model.model.register_forward_pre_hook(superpose_input_ids, with_kwargs=True)
        return True

    def refuse(self, *, folds_inputs: bool) -> None:
        """Raise ValueError for PEFT, encoder-decoders, shifted labels and models that take no embeddings."""
        model, name = self.model.model, type(self.model.model).__name__
        if self.model.using_peft:
            raise ValueError(
                f"{name} is a PEFT model; superposition trains the whole model. Leave out peft_config."
            )
        if getattr(self.model.config, "is_encoder_decoder", False):
            raise ValueError(f"{name} is an encoder-decoder; superposition needs a decoder. Use a causal LM.")
        if not self.model.shift_labels:
            raise ValueError(
                f"HuggingFaceModel({name}) has shift_labels=False; superposition reads unshifted labels, as "
                "causal language models do. Use a causal LM class with shift_labels=None."
            )
        self.embedding()
        if folds_inputs and "inputs_embeds" not in inspect.signature(model.forward).parameters:
            raise ValueError(
                f"{name}.forward takes no inputs_embeds, so bags of embeddings cannot be fed to it. "
                "Type mode='output_only', which needs ordinary inputs."
            )

    @property
    def vocab_size(self) -> int:
        """How many ids the model both embeds and predicts."""
        embedded = self.embedding().num_embeddings
        predicted = getattr(self.model.model.get_output_embeddings(), "out_features", embedded)
        return min(int(embedded), int(predicted))

    @property
    def is_pretrained(self) -> bool:
        """Whether the model's config names where it came from."""
        return bool(getattr(self.model.config, "_name_or_path", ""))


class MPTAdapter(HuggingFaceAdapter):
    """LLM Foundry's MPT. Tied, it has no head module: its embedding, asked to unembed, makes the logits."""

    def head(self) -> Head:
        """Return ``lm_head`` or the tied embedding, with MPT's own scale and soft-capping."""
        model = self.model.model
        module = model.get_output_embeddings()
        scale = 1.0 if model.logit_scale is None else float(model.logit_scale)
        return Head(module, scale, model.final_logit_softcapping)

    def refuse(self, *, folds_inputs: bool) -> None:
        """Also refuse MegaBlocks: their balancing loss lives outside the model's outputs."""
        super().refuse(folds_inputs=folds_inputs)
        kind = self.model.config.ffn_config["ffn_type"]
        if kind.startswith("mb_"):
            raise ValueError(
                f"MPT has ffn_type {kind!r}; superposition does not know MegaBlocks' load-balancing loss. "
                "Use ffn_type: mptmlp, or a Hugging Face mixture of experts (hf_causal_lm)."
            )


def superpose_input_ids(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Forward pre-hook: 3-D ids ``[B, L, S]`` become averaged ``inputs_embeds [B, L, D]``."""
    ids = kwargs.get("input_ids")
    if ids is None or ids.ndim != 3:
        return None
    kwargs = {key: value for key, value in kwargs.items() if key != "input_ids"}
    return args, {**kwargs, "inputs_embeds": superpose(model.get_input_embeddings()(ids))}


register_adapter(HuggingFaceModel, HuggingFaceAdapter)
register_adapter("llmfoundry.models.mpt.modeling_mpt.ComposerMPTCausalLM", MPTAdapter)
