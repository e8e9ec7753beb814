"""What superposition must know of a ComposerModel, and the register of who knows which model.

Letters: B rows, L latent positions, S tokens in a bag, D width, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .batch import BatchLayout

__all__ = ["Head", "ModelAdapter", "adapter_for", "register_adapter"]


@dataclass(frozen=True)
class Head:
    """The module that makes logits: ``cap(scale · hidden @ weight.T)``, cap being the soft-capping, if any.

    Only said of a model whose logits are exactly this: superposition then computes its loss in the module's
    place, and the logits never exist.
    """

    module: torch.nn.Module
    scale: float = 1.0
    softcap: float | None = None


class ModelAdapter:
    """What superposition must know of a ComposerModel; subclass it for a model of your own, and register it.

    A subclass says where ids become embeddings, and, where they are not simply the model's output, what the
    logits are:

    >>> class MyAdapter(ModelAdapter):
    ...     def embedding(self):
    ...         return self.model.net.token_embedding

    The model is asked for two promises. Ids reach nothing but that embedding, which is called once in a
    forward: on a superposed batch the forward sees rows of L placeholders, and the embedding answers with the
    averaged bags ``[B, L, D]``. And the forward needs no labels, for a superposed batch has none.

    Attributes:
        layout: the keys of the model's batches, and whether their labels are shifted.
    """

    layout: BatchLayout = BatchLayout()

    def __init__(self, model: Any) -> None:
        self.model = model

    def embedding(self) -> torch.nn.Embedding:
        """Return the module that turns ids into embeddings."""
        raise NotImplementedError(f"{type(self).__name__} must say where the model's embedding is.")

    def logits(self, outputs: Any) -> torch.Tensor:
        """Return the logits ``[B, L, V]`` among what the model's forward returned."""
        logits: torch.Tensor = outputs
        return logits

    def auxiliary_losses(self, outputs: Any) -> dict[str, torch.Tensor]:
        """Return, by name, what the native loss adds to the cross-entropy, weighted as it weighs them."""
        return {}

    @property
    def z_loss(self) -> float:
        """What the native loss multiplies logsumexp(logits)² with before it adds it; 0 for models without."""
        return 0.0

    def head(self) -> Head | None:
        """Return the head, if the loss may be computed in its place; then outputs are a mapping."""
        return None

    def take_bags(self) -> bool:
        """Teach the model to average bags by a way of its own, and return True; False: by `embedding`."""
        return False

    def refuse(self, *, folds_inputs: bool) -> None:
        """Raise ValueError, naming what to do, for a model that cannot be superposed."""

    @property
    def vocab_size(self) -> int:
        """How many ids the model both embeds and predicts."""
        return int(self.embedding().num_embeddings)

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, or None."""
        return getattr(self.model, "tokenizer", None)

    @property
    def is_pretrained(self) -> bool:
        """Whether the weights are known not to be fresh: their first loss need not be about log(V)."""
        return False


_ADAPTERS: dict[str, Callable[[Any], ModelAdapter]] = {}


def register_adapter(model_class: type | str, adapter: Callable[[Any], ModelAdapter]) -> None:
    """Say how models of a class, and of its subclasses, are superposed; the nearest class counts.

    Args:
        model_class: the ComposerModel's class, or ``module.Name`` where it should not be imported for this.
        adapter: the `ModelAdapter` subclass, or any function from the model to one.
    """
    _ADAPTERS[model_class if isinstance(model_class, str) else _name(model_class)] = adapter


def adapter_for(model: torch.nn.Module, *, folds_inputs: bool) -> ModelAdapter:
    """Return the adapter of a ComposerModel, or raise ValueError naming what cannot be superposed.

    ``folds_inputs``: bags go in, and not tokens.
    """
    for kind in type(model).__mro__:
        if _name(kind) in _ADAPTERS:
            adapter = _ADAPTERS[_name(kind)](model)
            adapter.refuse(folds_inputs=folds_inputs)
            return adapter
    raise ValueError(
        f"TokenSuperposition has no adapter for {_name(type(model))}; it knows "
        f"{', '.join(name.rpartition('.')[2] for name in _ADAPTERS)}. Say where the model's embedding and "
        f"logits are: register_adapter({type(model).__name__}, YourAdapter), with YourAdapter a subclass of "
        "composer_algo.ModelAdapter."
    )


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
