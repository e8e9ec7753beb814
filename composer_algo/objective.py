"""What is minimised on a superposed batch, and how much each row counts in it.

Letters: B rows, L latent positions, S tokens in a bag, D width, V vocabulary.
"""

import torch

from .loss import linear_multi_hot_cross_entropy, multi_hot_cross_entropy, sum_to_one_cross_entropy
from .settings import Settings
from .weights import bag_weights

__all__ = ["Objective"]


class Objective:
    """The multi-hot cross-entropy in the settings' weighting, or its alternative."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Here and not in the batch, every tensor of which is split into microbatches.
        self._weights: dict[tuple[int, torch.device], torch.Tensor] = {}

    @property
    def has_linear_form(self) -> bool:
        """Whether the loss can be had from hidden states without the logits."""
        return self._settings.alternative is None

    def from_logits(
        self, logits_BLV: torch.Tensor, targets_BLS: torch.Tensor, *, z_loss: float = 0.0
    ) -> torch.Tensor:
        """Return the loss, a scalar, from logits."""
        if self._settings.alternative == "sum_to_one":
            return sum_to_one_cross_entropy(logits_BLV, targets_BLS)
        weights = self._weights_for(targets_BLS)
        return multi_hot_cross_entropy(logits_BLV, targets_BLS, weights, z_loss=z_loss)

    def from_hidden(
        self,
        hidden_BLD: torch.Tensor,
        weight_VD: torch.Tensor,
        targets_BLS: torch.Tensor,
        *,
        softcap: float | None = None,
        z_loss: float = 0.0,
    ) -> torch.Tensor:
        """Return the same loss from hidden states and the output embedding, without the logits."""
        weights = self._weights_for(targets_BLS)
        return linear_multi_hot_cross_entropy(
            hidden_BLD, weight_VD, targets_BLS, weights, softcap=softcap, z_loss=z_loss
        )

    def refuse(self, *, z_loss: float) -> None:
        """Raise ValueError for a model whose z-loss the alternative has no place for."""
        if z_loss and self._settings.alternative is not None:
            raise ValueError(
                f"the model adds a z-loss of {z_loss} to its loss; alternative "
                f"{self._settings.alternative!r} has none. Leave out alternative, or set the model config's "
                "z_loss_coefficient to 0."
            )

    def row_shares(self, targets_BLS: torch.Tensor) -> list[float]:
        """Return what each row contributes to the denominator of the batch's mean.

        A mean over microbatches is the mean over the batch when each counts with the sum of its rows' shares.
        """
        valid_BLS = targets_BLS != -100
        if self._settings.alternative == "sum_to_one":
            shares_B = valid_BLS.any(dim=-1).sum(dim=-1)
        else:
            shares_B = (valid_BLS * self._weights_for(targets_BLS)).sum(dim=(-2, -1))
        shares: list[float] = shares_B.tolist()
        return shares

    def _weights_for(self, targets_BLS: torch.Tensor) -> torch.Tensor:
        bag_size, device = targets_BLS.shape[-1], targets_BLS.device
        if (bag_size, device) not in self._weights:
            # One target: input_only, or an ordinary batch. Nothing is left to weigh.
            weighting = "uniform" if bag_size == 1 else self._settings.weighting
            self._weights[bag_size, device] = bag_weights(weighting, bag_size).to(device)
        return self._weights[bag_size, device]
