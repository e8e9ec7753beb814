"""The three fair comparisons of a TST arm with its baselines: equal FLOPs, equal loss, equal data."""

import math
from dataclasses import dataclass

from .arms import LENGTH, SUPERPOSITION, Arm
from .ladder import Ladder, Reading

__all__ = ["EqualData", "EqualFlops", "EqualLoss", "equal_data", "equal_flops", "equal_loss", "ladders_of"]


@dataclass(frozen=True)
class EqualFlops:
    """A TST arm beside the baseline of as many FLOPs; ``gain`` > 0: TST's loss is lower, by so much."""

    arm: Arm
    baseline: Arm

    @property
    def gain(self) -> float:
        """Baseline's mean loss less TST's."""
        return self.baseline.eval_loss.mean - self.arm.eval_loss.mean

    @property
    def standard_error(self) -> float | None:
        """That of the gain, the seeds of both arms taken as independent; None where an arm has one seed."""
        errors = [one.eval_loss.standard_error for one in (self.arm, self.baseline)]
        known = [error for error in errors if error is not None]
        return math.hypot(*known) if len(known) == 2 else None


@dataclass(frozen=True)
class EqualLoss:
    """The steps a baseline takes to a TST arm's loss, as a multiple of TST's; over each seed's loss too."""

    arm: Arm
    ladder: Ladder[Arm]
    reading: Reading
    of_each_seed: tuple[Reading, ...]

    @property
    def ratio(self) -> float:
        """Steps of the baseline over TST's; a bound where the reading is one."""
        return self.reading.value / self.arm.steps

    @property
    def ratios(self) -> tuple[float, float] | None:
        """The smallest and the largest over TST's seeds; None with one seed, or where one is not known."""
        if len(self.of_each_seed) < 2 or not all(reading.is_known for reading in self.of_each_seed):
            return None
        ratios = [reading.value / self.arm.steps for reading in self.of_each_seed]
        return min(ratios), max(ratios)


@dataclass(frozen=True)
class EqualData:
    """A TST arm beside a baseline that reads as many tokens, and so takes ``flops_ratio`` times the FLOPs."""

    arm: Arm
    ladder: Ladder[Arm]
    reading: Reading

    @property
    def gain(self) -> float:
        """Baseline's loss less TST's; a baseline of that length takes more FLOPs, so it is often negative."""
        return self.reading.value - self.arm.eval_loss.mean

    @property
    def flops_ratio(self) -> float:
        """FLOPs of that baseline over TST's: tokens of text over latent positions."""
        return self.arm.tokens / self.arm.runs[0].summary["equivalent_tokens"]


def ladders_of(arm: Arm, arms: list[Arm]) -> list[Ladder[Arm]]:
    """Returns the ladders of baselines that differ from a TST arm in superposition and length alone.

    Only baselines whose learning rate came to its end count, and of several of one length the best. Whole
    runs are one ladder, and decays branched from a stem another.
    """
    setting = arm.setting_without(SUPERPOSITION, LENGTH)
    alike = [
        one
        for one in arms
        if not one.is_superposed and one.is_annealed and one.setting_without(SUPERPOSITION, LENGTH) == setting
    ]
    ladders = []
    for branched in (False, True):
        best: dict[int, Arm] = {}
        for one in alike:
            kept = best.get(one.steps, one)
            if one.is_branch == branched and one.eval_loss.mean <= kept.eval_loss.mean:
                best[one.steps] = one
        if best:
            ladders.append(Ladder(tuple(best[steps] for steps in sorted(best))))
    return ladders


def equal_flops(arm: Arm, ladder: Ladder[Arm]) -> EqualFlops | None:
    """Returns the comparison with the baseline of as many FLOPs (within 0.1 %); None if none was run."""
    equal = [one for one in ladder.arms if math.isclose(one.flops, arm.flops, rel_tol=1e-3)]
    return EqualFlops(arm, equal[0]) if equal else None


def equal_loss(arm: Arm, ladder: Ladder[Arm]) -> EqualLoss:
    """Returns the step ratio at the TST arm's loss."""
    each = tuple(ladder.steps_to(loss) for loss in arm.eval_loss.values)
    return EqualLoss(arm, ladder, ladder.steps_to(arm.eval_loss.mean), each)


def equal_data(arm: Arm, ladder: Ladder[Arm]) -> EqualData:
    """Returns the comparison at the TST arm's tokens of text."""
    return EqualData(arm, ladder, ladder.loss_at(arm.tokens))
