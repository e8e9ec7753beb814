"""A ComposerModel taught to take superposed batches; every other batch takes its native path.

Letters: B rows, L latent positions, S tokens in a bag, D width, V vocabulary.
"""

from collections.abc import Mapping
from typing import Any

import torch

from .adapter import ModelAdapter
from .batch import TARGETS
from .fold import superpose
from .objective import Objective

__all__ = ["SuperposedModel"]

# Stands for a bag where the model expects an id: in no vocabulary, so that whatever else looks it up fails.
PLACEHOLDER = -1


class SuperposedModel:
    """Patches one model instance; nothing is added to its parameters or modules.

    Must be made before DDP, FSDP or torch.compile wrap the model: a hook added after compiling is ignored,
    and the patches are compiled with the forward they wrap.
    """

    def __init__(
        self, adapter: ModelAdapter, objective: Objective, *, folds_inputs: bool, fused: bool
    ) -> None:
        objective.refuse(z_loss=adapter.z_loss)
        self._adapter, self._objective = adapter, objective
        self._native_forward, self._native_loss = adapter.model.forward, adapter.model.loss
        # What a forward under way hands to the patched embedding and head.
        self._bags: torch.Tensor | None = None
        self._targets: torch.Tensor | None = None
        self._fused_loss: torch.Tensor | None = None
        self._by_embedding = folds_inputs and not adapter.take_bags()
        if self._by_embedding:
            self._patch_embedding(adapter.embedding())
        head = adapter.head() if fused and objective.has_linear_form else None
        self.fuses = head is not None
        if head is not None:
            self._patch_head(head.module, head.scale, head.softcap)
        if self.fuses or self._by_embedding:
            adapter.model.forward = self.forward
        adapter.model.loss = self.loss
        #: Whether the batch's loss is the multi-hot one of bags, for its name in the log.
        self.superposes = True

    def forward(self, batch: Any) -> Any:
        """Call the model's own forward, having told the patched embedding and head what is in the batch."""
        targets = batch.get(TARGETS) if isinstance(batch, Mapping) else None
        if targets is None:
            return self._native_forward(batch)
        ids_key = self._adapter.layout.ids
        if self._by_embedding and batch[ids_key].ndim == 3:
            self._bags = batch[ids_key]
            placeholders = torch.full_like(self._bags[..., 0], PLACEHOLDER)
            batch = {**batch, ids_key: placeholders}
        self._targets = targets if self.fuses else None
        outputs = self._native_forward(batch)
        self._targets = None
        if self._bags is not None:
            self._bags = None
            raise ValueError(
                f"{type(self._adapter).__name__} says where {type(self._adapter.model).__name__} embeds its "
                "ids, but its forward did not call that module. Return from embedding() the module that "
                "forward calls with the ids."
            )
        if self._fused_loss is not None:
            outputs["loss"], self._fused_loss = self._fused_loss, None
        return outputs

    def loss(self, outputs: Any, batch: Any) -> Any:
        """Return the native loss, or the multi-hot loss when the batch carries superposition targets.

        The latter is a dict as Composer logs it: ``total`` is minimised; ``mce`` is the multi-hot part of it
        (z-loss included) and what auxiliary losses the model has, by their names, the rest.
        """
        targets = batch.get(TARGETS) if isinstance(batch, Mapping) else None
        if targets is None:
            return self._native_loss(outputs, batch)
        if self.fuses:
            # The empty logits add 0, and take backward through the outputs; without that FSDP2 reduces no
            # gradient.
            main = outputs["loss"] + self._adapter.logits(outputs).sum()
        else:
            logits = self._checked_logits(outputs, targets)
            main = self._objective.from_logits(logits, targets, z_loss=self._adapter.z_loss)
        auxiliary = {
            name: value.to(main.device) for name, value in self._adapter.auxiliary_losses(outputs).items()
        }
        named = {"mce": main} if self.superposes else {}
        return {"total": sum(auxiliary.values(), main), **named, **auxiliary}

    def _checked_logits(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        logits = self._adapter.logits(outputs)
        vocab_size = self._adapter.vocab_size
        if logits.ndim != 3 or logits.shape[:2] != targets.shape[:2] or logits.shape[-1] < vocab_size:
            raise ValueError(
                f"{type(self._adapter.model).__name__} returned logits of shape {list(logits.shape)} for "
                f"{targets.shape[0]} rows of {targets.shape[1]} latent positions and {vocab_size} ids; "
                "superposition needs one vector of logits for each position. Return them from the adapter's "
                "logits(), or train this model without TokenSuperposition."
            )
        return logits

    def _patch_embedding(self, module: torch.nn.Embedding) -> None:
        native = module.forward

        def forward(ids: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            bags = self._bags
            if bags is None or ids.shape != bags.shape[:2] or ids.is_floating_point():
                return native(ids, *args, **kwargs)
            self._bags = None
            return superpose(native(bags, *args, **kwargs))

        module.forward = forward  # type: ignore[method-assign, assignment]

    def _patch_head(self, module: torch.nn.Module, scale: float, softcap: float | None) -> None:
        native, z_loss = module.forward, self._adapter.z_loss

        def forward(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            # MPT's tied head is also its embedding, which is called with ids.
            if self._targets is None or not hidden.is_floating_point():
                return native(hidden, *args, **kwargs)
            scaled = hidden if scale == 1 else hidden * scale
            weight: Any = module.weight
            self._fused_loss = self._objective.from_hidden(
                scaled, weight, self._targets, softcap=softcap, z_loss=z_loss
            )
            # In the place of the logits, so that whatever the model does with those has nothing to do. Of
            # hidden, and not new: backward must pass through the output of every module that FSDP wraps.
            return hidden[..., :0].clone()

        module.forward = forward
