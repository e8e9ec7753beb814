"""The paper's control: input embedding and head drawn anew at the switch, which undoes what TST gained."""

from typing import Any

import torch
from composer.core import Algorithm, Event, State
from composer.loggers import Logger

from composer_algo import TokenSuperposition

from .draw import draw_anew

__all__ = ["ReinitialiseEmbeddings"]


class ReinitialiseEmbeddings(Algorithm):
    """Draws the input embedding and the head anew before the first batch of the recovery phase.

    Normal with the model's own ``initializer_range``, from the run's seed, the same on every rank; a tied
    pair stays tied. All else goes on, the optimizer's state included: the paper (section 5.3) says only that
    both are randomly re-initialised. A run resumed at the switch does the same, one resumed later nothing.

    Raises:
        ValueError: when training starts, if no `TokenSuperposition` says where the switch is.
    """

    def match(self, event: Event, state: State) -> bool:
        """Run when training starts, to check, and at the start of the first batch after the switch."""
        if event == Event.FIT_START:
            return True
        return event == Event.BATCH_START and int(state.timestamp.batch) == self._switch(state)

    def apply(self, event: Event, state: State, logger: Logger) -> None:
        """Draw the weights anew."""
        if event == Event.FIT_START:
            self._superposition(state)
            return
        model = getattr(state.model, "module", state.model).model
        # Not the run's own seed, whose first draws may be the weights the model began with.
        generator = torch.Generator().manual_seed(state.rank_zero_seed + 1)
        for weight in _end_weights(model):
            draw_anew(weight, model.config.initializer_range, generator)

    def _superposition(self, state: State) -> TokenSuperposition:
        found = [algorithm for algorithm in state.algorithms if isinstance(algorithm, TokenSuperposition)]
        if not found:
            raise ValueError(
                "ReinitialiseEmbeddings acts at the switch of TokenSuperposition, and the run has none. Add "
                "algorithms.token_superposition={}, or take reinitialise_embeddings out."
            )
        return found[0]

    def _switch(self, state: State) -> int:
        schedule = self._superposition(state).schedule
        assert schedule is not None, "TokenSuperposition settles its schedule at FIT_START"
        return schedule.switch_batch


def _end_weights(model: Any) -> list[torch.Tensor]:
    """Return the weights of the input embedding and of the head, one if they are tied."""
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    if embedding.ndim != 2:
        raise ValueError(
            f"the embedding of {type(model).__name__} has shape {list(embedding.shape)}: FSDP1 has "
            "flattened it, so it cannot be drawn anew. Train this control with FSDP2 or without FSDP."
        )
    return [embedding] if head is embedding else [embedding, head]
