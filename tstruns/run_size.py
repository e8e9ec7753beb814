"""How long a run is and how it is split: steps, rows, bags and the switch, and what each phase reads."""

import math
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["MODES", "Phase", "RunSize", "switch_batch_of"]

MODES = ("full", "input_only", "output_only")


@dataclass(frozen=True)
class Phase:
    """What one phase reads: ``steps`` global batches of ``batch_rows`` rows of ``row_tokens`` tokens.

    ``dataset_rows``: stored rows of L tokens, of which a bag row joins s. ``bytes``: their ids, uncompressed.
    """

    name: str
    steps: int
    batch_rows: int
    row_tokens: int
    dataset_rows: int
    tokens: int
    bytes: int


@dataclass(frozen=True)
class RunSize:
    """A run in optimizer steps, of which the first ``superposition_batches`` (P) are superposed.

    ``global_batch_size`` rows a step, each of ``seq_len`` (L) latent positions in both phases.

    Raises:
        ValueError: a number out of its range.
    """

    steps: int
    global_batch_size: int
    seq_len: int
    bag_size: int
    superposition_batches: int
    mode: str = "full"

    def __post_init__(self) -> None:
        for name in ("steps", "global_batch_size", "seq_len", "bag_size"):
            if getattr(self, name) < 1:
                flag = "--" + name.replace("_", "-")
                raise ValueError(f"{flag} is {getattr(self, name)}; it is a whole number, 1 or more.")
        if not 0 <= self.superposition_batches <= self.steps:
            raise ValueError(
                f"the superposition phase is {self.superposition_batches} of {self.steps} steps; it is 0 or "
                "more and no longer than the run. Give --superposition-ratio between 0 and 1."
            )
        assert self.mode in MODES, self.mode

    @property
    def superposition_ratio(self) -> float:
        """The share of steps in the superposition phase (r), after rounding to whole batches."""
        return self.superposition_batches / self.steps

    @property
    def growth(self) -> int:
        """How many times longer a row of the superposition phase is: s, but 1 with ``output_only``."""
        return 1 if self.mode == "output_only" else self.bag_size

    @property
    def step_tokens(self) -> int:
        """Equivalent tokens a step: latent positions, be they s-tokens or tokens."""
        return self.global_batch_size * self.seq_len

    @property
    def total_tokens(self) -> int:
        """Tokens of text that the whole run reads."""
        recovery = self.steps - self.superposition_batches
        return self.step_tokens * (self.superposition_batches * self.growth + recovery)

    def phases(self, token_bytes: int) -> tuple[Phase, Phase]:
        """Return both phases, for ids of ``token_bytes`` bytes."""
        recovery = self.steps - self.superposition_batches
        return (
            self._phase("superposition", self.superposition_batches, self.growth, token_bytes),
            self._phase("recovery", recovery, 1, token_bytes),
        )

    def _phase(self, name: str, steps: int, growth: int, token_bytes: int) -> Phase:
        rows = steps * self.global_batch_size * growth
        tokens = rows * self.seq_len
        return Phase(
            name, steps, self.global_batch_size, self.seq_len * growth, rows, tokens, tokens * token_bytes
        )


def switch_batch_of(ratio: str, steps: int) -> int:
    """Return the steps of the superposition phase for a ratio written out, such as 0.3 or 12483/49983.

    The nearest whole number, half a batch up: the rule of `composer_algo.phase`, so that both find one batch.

    >>> switch_batch_of("0.3", 20000)
    6000
    """
    try:
        share = Fraction(ratio)
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"--superposition-ratio is {ratio!r}; it is a number from 0 to 1, such as 0.3."
        ) from None
    if not 0 <= share <= 1:
        raise ValueError(
            f"--superposition-ratio is {ratio}; it is a share of the steps, from 0 to 1, such as 0.3."
        )
    return math.floor(share * steps + Fraction(1, 2))
