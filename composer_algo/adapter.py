"""What superposition must know of a model: where ids become embeddings, its logits, how its loss is read.

Letters: B rows, L latent positions, S tokens in a bag, D width, V vocabulary.
"""

import inspect
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from composer.models import HuggingFaceModel

from .batch import TARGETS
from .fold import superpose

__all__ = ["HuggingFaceAdapter", "MultiHotLoss", "adapter_for"]


class MultiHotLoss(Protocol):
    """Logits ``[B, L, V]`` and targets ``[B, L, S]`` to the scalar multi-hot cross-entropy."""

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss."""
        ...


def adapter_for(model: torch.nn.Module, *, folds_inputs: bool) -> "HuggingFaceAdapter":
    """Return the adapter of a Composer model, or raise ValueError naming what cannot be superposed.

    ``folds_inputs``: bags go in, so the model must accept embeddings in place of ids.
    """
    if not isinstance(model, HuggingFaceModel):
        raise ValueError(
            f"TokenSuperposition has no adapter for {type(model).__module__}.{type(model).__qualname__}; it "
            "knows Hugging Face causal language models in composer.models.HuggingFaceModel. Wrap the model "
            "as HuggingFaceModel(AutoModelForCausalLM.from_config(config), use_logits=True)."
        )
    return HuggingFaceAdapter(model, folds_inputs=folds_inputs)


class HuggingFaceAdapter:
    """A Hugging Face causal language model in Composer's `HuggingFaceModel`.

    Nothing is added to the model's parameters or modules. Ids of shape ``[B, L, S]`` become averaged
    embeddings just before the model's own forward; a batch with targets gets the multi-hot loss; everything
    else takes the native path.
    """

    def __init__(self, model: HuggingFaceModel, *, folds_inputs: bool) -> None:
        self.model = model
        self._refuse_what_cannot_work(folds_inputs)
        self.vocab_size = vocabulary_of(model.model)
        self.is_pretrained = bool(getattr(model.config, "_name_or_path", ""))
        self.row_keys = frozenset(model.model_forward_args) - {"input_ids", "labels", "attention_mask"}
        self._native_loss = model.loss
        self._multi_hot_loss: MultiHotLoss | None = None

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, or None."""
        return self.model.tokenizer

    def install(self, multi_hot_loss: MultiHotLoss) -> None:
        """Make the model take bags and, where a batch has targets, the multi-hot loss.

        Must run before DDP, FSDP or torch.compile wrap the model: a hook added after compiling is ignored.
        """
        # On the model and not on its embedding: tied models use the embedding module for their logits too.
        self.model.model.register_forward_pre_hook(superpose_input_ids, with_kwargs=True)
        self._multi_hot_loss = multi_hot_loss
        self.model.loss = self.loss

    def check_ids(self, ids: torch.Tensor) -> None:
        """Raise ValueError when the data's ids are not all in the model's vocabulary."""
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.vocab_size:
            raise ValueError(
                f"the first batch holds ids {low}..{high}; the model's vocabulary is "
                f"0..{self.vocab_size - 1}. Train with the tokenizer the data were prepared with, or give "
                "the model config its vocab_size."
            )

    def loss(self, outputs: Any, batch: Mapping[str, Any]) -> Any:
        """Return the native loss, or the multi-hot loss when the batch carries superposition targets.

        The latter is a dict as Composer logs it: ``total`` is minimised; ``mce`` is the multi-hot part of it
        and ``router_auxiliary``, for mixtures of experts that ask for it, the rest.
        """
        targets = batch.get(TARGETS) if isinstance(batch, Mapping) else None
        if targets is None:
            return self._native_loss(outputs, batch)
        assert self._multi_hot_loss is not None
        mce = self._multi_hot_loss(self._logits(outputs, targets), targets)
        auxiliary = self._router_auxiliary_loss(outputs)
        if auxiliary is None:
            return {"total": mce, "mce": mce}
        auxiliary = auxiliary.to(mce.device)
        return {"total": mce + auxiliary, "mce": mce, "router_auxiliary": auxiliary}

    def _logits(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        logits = outputs["logits"] if self.model.config.use_return_dict else outputs[0]
        if logits.ndim != 3 or logits.shape[:2] != targets.shape[:2]:
            raise ValueError(
                f"{type(self.model.model).__name__} returned logits of shape {list(logits.shape)} for "
                f"{targets.shape[0]} rows of {targets.shape[1]} latent positions; superposition needs one "
                "vector of logits for each position. Train this model without TokenSuperposition."
            )
        return logits

    def _router_auxiliary_loss(self, outputs: Any) -> torch.Tensor | None:
        """Return what the model itself would add to its loss, had it been given labels; None if nothing."""
        auxiliary = outputs.get("aux_loss") if isinstance(outputs, Mapping) else None
        if auxiliary is None:
            return None
        for name in ("router_aux_loss_coef", "aux_loss_coef"):
            if hasattr(self.model.model, name):
                return getattr(self.model.model, name) * auxiliary
        raise ValueError(
            f"{type(self.model.model).__name__} returned an auxiliary loss but has no router_aux_loss_coef "
            "to weigh it with. Set output_router_logits=False in its config to train without the auxiliary "
            "loss."
        )

    def _refuse_what_cannot_work(self, folds_inputs: bool) -> None:
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
        if not folds_inputs:
            return
        if "inputs_embeds" not in inspect.signature(model.forward).parameters:
            raise ValueError(
                f"{name}.forward takes no inputs_embeds, so bags of embeddings cannot be fed to it. "
                "Type mode='output_only', which needs ordinary inputs."
            )


def vocabulary_of(model: Any) -> int:
    """Return how many ids the model both embeds and predicts; ValueError when that cannot be known."""
    try:
        embedded = model.get_input_embeddings().num_embeddings
    except (AttributeError, NotImplementedError) as error:
        raise ValueError(
            f"{type(model).__name__}.get_input_embeddings() gives no embedding table, so bags of its "
            "embeddings cannot be averaged. Define it as in transformers.PreTrainedModel, returning the "
            "torch.nn.Embedding."
        ) from error
    predicted = getattr(model.get_output_embeddings(), "out_features", embedded)
    return min(int(embedded), int(predicted))


def superpose_input_ids(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Forward pre-hook: 3-D ids ``[B, L, S]`` become averaged ``inputs_embeds [B, L, D]``."""
    ids = kwargs.get("input_ids")
    if ids is None or ids.ndim != 3:
        return None
    kwargs = {key: value for key, value in kwargs.items() if key != "input_ids"}
    return args, {**kwargs, "inputs_embeds": superpose(model.get_input_embeddings()(ids))}
