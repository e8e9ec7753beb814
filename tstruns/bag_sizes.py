"""Final loss over bag size: the arms that differ in s alone, at one length, with the baseline as s = 1."""

from dataclasses import dataclass

from .arms import LENGTH, SUPERPOSITION, Arm, Spread

__all__ = ["Sweep", "sweeps_of"]

# What may differ within a sweep; P, the mode and the weights may not.
BAG_SIZE = frozenset({"train_loader.dataset.bag_size", "algorithms.token_superposition.bag_size"})


@dataclass(frozen=True)
class Sweep:
    """Final losses of one model, length and superposition ratio over bag sizes, the smallest first."""

    label: str
    sizes: tuple[int, ...]
    losses: tuple[Spread, ...]

    @property
    def best(self) -> int:
        """The bag size of the lowest mean loss."""
        return min(zip(self.sizes, self.losses, strict=True), key=lambda point: point[1].mean)[0]


def sweeps_of(arms: list[Arm]) -> list[Sweep]:
    """Returns a sweep for each setting that has TST arms of two bag sizes or more.

    The baseline of as many steps is s = 1, if there is one; of several the best.
    """
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        if arm.is_superposed:
            groups.setdefault(_setting(arm), []).append(arm)
    return [_sweep(group, arms) for group in groups.values() if len(group) > 1]


def _setting(arm: Arm) -> str:
    return str(sorted((key, str(value)) for key, value in arm.setting_without(BAG_SIZE).items()))


def _sweep(group: list[Arm], arms: list[Arm]) -> Sweep:
    first = group[0]
    points = {arm.bag_size: arm.eval_loss for arm in group}
    baselines = [
        arm.eval_loss
        for arm in arms
        if not arm.is_superposed
        and arm.steps == first.steps
        and arm.is_annealed
        and arm.setting_without(SUPERPOSITION, LENGTH) == first.setting_without(SUPERPOSITION, LENGTH)
    ]
    if baselines:
        points[1] = min(baselines, key=lambda loss: loss.mean)
    sizes = tuple(sorted(points))
    label = first.name.replace(f"s={first.bag_size} ", "")
    return Sweep(label, sizes, tuple(points[size] for size in sizes))
