"""The Algorithm's arguments, checked as far as they can be before there is a run."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .batch import MODES
from .fold import check_bag_size
from .phase import parse_time
from .rows import RECOVERY_ROWS
from .weights import bag_weights

__all__ = ["Settings"]

ALTERNATIVES = ("sum_to_one",)
FUSED = (True, False, "always")


@dataclass(frozen=True)
class Settings:
    """The Algorithm's arguments, as given: None is left to the dataset."""

    bag_size: int | None = None
    duration: str | None = None
    weighting: str | tuple[float, ...] = "uniform"
    mode: str = "full"
    alternative: str | None = None
    recovery_rows: str | None = None
    fused_loss: bool | str = True

    @property
    def folds_inputs(self) -> bool:
        """Whether bags go into the model, and not tokens."""
        return self.mode != "output_only"

    def saved(self) -> dict[str, Any]:
        """Return, as scalars, what a checkpoint keeps: all that must not change within a run."""
        return {
            "bag_size": self.bag_size,
            "duration": self.duration,
            "weighting": self.weighting if isinstance(self.weighting, str) else str(list(self.weighting)),
            "mode": self.mode,
            "alternative": self.alternative,
            "recovery_rows": self.recovery_rows,
        }

    @classmethod
    def check(cls, **given: Any) -> "Settings":
        """Return the settings, or raise ValueError for one that is out of range or contradicts another."""
        if given["bag_size"] is not None:
            check_bag_size(given["bag_size"])
        if given["duration"] is not None:
            parse_time(given["duration"], "duration")
        weighting = given["weighting"]
        if isinstance(weighting, Sequence) and not isinstance(weighting, str):
            given["weighting"] = weighting = tuple(weighting)
        bag_weights(weighting, given["bag_size"] or (len(weighting) if isinstance(weighting, tuple) else 1))
        for name, allowed, remedy in (
            ("mode", MODES, "Type mode='full' for the paper's method."),
            ("alternative", (None, *ALTERNATIVES), "Leave it out for the multi-hot cross-entropy."),
            ("recovery_rows", (None, *RECOVERY_ROWS), "Leave it out for data in bag shards."),
            ("fused_loss", FUSED, "Type fused_loss=False for losses from whole logits."),
        ):
            if given[name] not in allowed:
                choices = ", ".join(str(value) for value in allowed)
                raise ValueError(f"{name} is {given[name]!r}; the choices are {choices}. {remedy}")
        settings = cls(**given)
        settings._check_together()
        return settings

    def _check_together(self) -> None:
        if not self.folds_inputs and (self.bag_size is None or self.duration is None):
            raise ValueError(
                f"mode 'output_only' with bag_size {self.bag_size!r} and duration {self.duration!r}: its "
                "data are ordinary rows, so both must be given here. Type for example bag_size=4, "
                "duration='0.5dur'."
            )
        idle = []
        if self.weighting != "uniform" and self.mode == "input_only":
            idle.append(f"weighting {self.weighting!r} has no effect: input_only predicts one token.")
        elif self.weighting != "uniform" and self.alternative is not None:
            idle.append(
                f"weighting {self.weighting!r} has no effect: {self.alternative} asks for the bag as a set."
            )
        if self.recovery_rows is not None and not self.folds_inputs:
            idle.append(f"recovery_rows {self.recovery_rows!r} has no effect: output_only folds no rows.")
        for message in idle:
            warnings.warn(message, stacklevel=4)
