"""Arms: the runs of one config, whatever their seeds; named by what differs between them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .config import CHANGEABLE
from .finished_run import FinishedRun

__all__ = ["Arm", "Spread", "group_into_arms"]

# What may differ within an arm: seeds, and what changes no loss.
SEEDS = frozenset({"seed", "train_loader.dataset.shuffle_seed"})
NO_MATTER = CHANGEABLE - {"max_duration", "load_path"} | {
    "device_train_microbatch_size",
    "device_eval_batch_size",
    "eval_interval",
    "eval_loader",
    "eval_subset_num_batches",
    "tokenizer",
    "model.config.vocab_size",
    "model.config.attn_implementation",
}
SUPERPOSITION = frozenset(
    {
        "train_loader.dataset.bag_size",
        "train_loader.dataset.superposition_batches",
        "algorithms.token_superposition",
        "algorithms.reinitialise_embeddings",
    }
)
# The schedule without an end: decays branch from such a run, and it is no baseline itself.
STEM = "constant_with_warmup"
# What a run of another length has different.
LENGTH = frozenset({"max_duration", "load_path", "scheduler.t_warmup", "scheduler.t_decay"})


@dataclass(frozen=True)
class Spread:
    """Mean of a value over the seeds, its sample standard deviation (None with one seed), and each value."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean."""
        return sum(self.values) / len(self.values)

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation; None with one seed, which says nothing of it."""
        if len(self.values) < 2:
            return None
        return math.sqrt(sum((value - self.mean) ** 2 for value in self.values) / (len(self.values) - 1))

    @property
    def standard_error(self) -> float | None:
        """That of the mean."""
        return None if self.deviation is None else self.deviation / math.sqrt(len(self.values))


@dataclass(frozen=True)
class Arm:
    """Runs of one config that differ in their seeds alone."""

    name: str
    runs: tuple[FinishedRun, ...]

    @cached_property
    def keys(self) -> dict[str, Any]:
        """What the arm is: its config without seeds and without what changes no loss."""
        return identity(self.runs[0])

    @property
    def is_superposed(self) -> bool:
        """Whether it is a TST arm."""
        return is_superposed(self.keys)

    @property
    def is_annealed(self) -> bool:
        """Whether its learning-rate schedule has an end that the run reached."""
        return bool(self.keys["scheduler.name"] != STEM)

    @property
    def is_branch(self) -> bool:
        """Whether it went on from another run's checkpoint, as a decay branched from a stem does."""
        return "load_path" in self.keys

    @property
    def steps(self) -> int:
        """Optimizer steps, those before a branch included."""
        return self.runs[0].steps

    @property
    def tokens(self) -> int:
        """Tokens of text read."""
        return self.runs[0].tokens

    @property
    def flops(self) -> int:
        """Training FLOPs."""
        return self.runs[0].flops

    @property
    def bag_size(self) -> int:
        """s; 1 for a baseline."""
        return bag_size(self.runs[0])

    @property
    def switch(self) -> int:
        """P: the step of the switch; 0 without one."""
        return superposition_steps(self.runs[0])

    def spread(self, value: Callable[[FinishedRun], float]) -> Spread:
        """Returns a value of every run."""
        return Spread(tuple(value(run) for run in self.runs))

    @property
    def eval_loss(self) -> Spread:
        """The final evaluation loss."""
        return self.spread(lambda run: run.eval_loss)

    def setting_without(self, *groups: frozenset[str]) -> dict[str, Any]:
        """Returns what the arm is, apart from keys of these groups."""
        return {key: value for key, value in self.keys.items() if not any(within(key, g) for g in groups)}


def within(key: str, group: frozenset[str]) -> bool:
    """Returns whether a dotted key, or a section it lies in, is in a group."""
    parts = key.split(".")
    return any(".".join(parts[:number]) in group for number in range(1, len(parts) + 1))


def is_superposed(keys: dict[str, Any]) -> bool:
    """Returns whether a flat config has the algorithm on."""
    return "algorithms.token_superposition.mode" in keys


def superposition_steps(run: FinishedRun) -> int:
    """Returns P. A branch has no lines of the steps before it; its loader still says how many there were."""
    planned = int(run.keys.get("train_loader.dataset.superposition_batches", 0))
    return min(run.steps, max(run.summary["superposition_steps"], planned))


def identity(run: FinishedRun) -> dict[str, Any]:
    """Returns the keys of a run's config that make it one arm's; of load_path the file's name counts."""
    keys = {key: value for key, value in run.keys.items() if not within(key, NO_MATTER | SEEDS)}
    if "load_path" in keys:
        keys["load_path"] = Path(keys["load_path"]).name
    return keys


def group_into_arms(runs: list[FinishedRun]) -> list[Arm]:
    """Returns the arms, baselines first, each by length.

    Raises:
        ValueError: Two runs have the same config and seeds.
    """
    groups: dict[tuple[Any, ...], list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(
            tuple(sorted((key, str(value)) for key, value in identity(run).items())), []
        ).append(run)
    for group in groups.values():
        _check_seeds(group)
    ordered = sorted(groups.values(), key=lambda group: _order(group[0]))
    names = _names([group[0] for group in ordered])
    return [Arm(name, tuple(group)) for name, group in zip(names, ordered, strict=True)]


def _check_seeds(group: list[FinishedRun]) -> None:
    seen: dict[Any, FinishedRun] = {}
    for run in group:
        if run.seeds in seen:
            raise ValueError(
                f"{seen[run.seeds].path} and {run.path} are the same run twice (one config, "
                f"seed {run.seeds[0]}, shuffle seed {run.seeds[1]}): leave one out"
            )
        seen[run.seeds] = run


def _order(run: FinishedRun) -> tuple[Any, ...]:
    keys = run.keys
    return is_superposed(keys), run.steps, bag_size(run), superposition_steps(run), str(sorted(keys.items()))


def bag_size(run: FinishedRun) -> int:
    """Returns s: the loader's, or, where only the targets are bags, the algorithm's."""
    given = run.keys.get("algorithms.token_superposition.bag_size")
    return int(given or run.keys.get("train_loader.dataset.bag_size", 1)) if is_superposed(run.keys) else 1


def _names(runs: list[FinishedRun]) -> list[str]:
    """Returns a name for each arm from the keys that differ; all of them where that is not enough."""
    keys = [identity(run) for run in runs]
    differing = [
        key
        for key in sorted({key for one in keys for key in one})
        if len({str(k.get(key)) for k in keys}) > 1
    ]
    told = [key for key in differing if not within(key, SUPERPOSITION | LENGTH)]
    if {one["scheduler.name"] for one in keys} <= {"wsd", STEM}:
        told = [key for key in told if key != "scheduler.name"]
    lengths = len({run.steps for run in runs}) > 1
    names = [_name(run, one, told, lengths) for run, one in zip(runs, keys, strict=True)]
    longer = [_name(run, one, differing, lengths) for run, one in zip(runs, keys, strict=True)]
    return [long if names.count(name) > 1 else name for name, long in zip(names, longer, strict=True)]


def _name(run: FinishedRun, keys: dict[str, Any], told: list[str], lengths: bool) -> str:
    parts = [_kind(run, keys)]
    if lengths:
        parts.append(f"{run.steps:,} steps")
    if "load_path" in keys:
        parts.append(f"branched from {keys['load_path'].removesuffix('-rank0.pt')}")
    short = [key.removesuffix(".name").rpartition(".")[2] for key in told]
    for key, last in zip(told, short, strict=True):
        parts.append(f"{last if short.count(last) == 1 else key} {keys.get(key, 'none')}")
    return ", ".join(parts)


def _kind(run: FinishedRun, keys: dict[str, Any]) -> str:
    if not is_superposed(keys):
        return "constant-rate stem" if keys["scheduler.name"] == STEM else "baseline"
    section = "algorithms.token_superposition."
    ratio = superposition_steps(run) / run.steps
    words = [f"TST s={bag_size(run)} r={ratio:.3g}"]
    if keys[section + "mode"] != "full":
        words.append(keys[section + "mode"].replace("_", "-"))
    if keys[section + "weighting"] != "uniform":
        words.append(keys[section + "weighting"].replace("_", " "))
    if "algorithms.reinitialise_embeddings" in keys:
        words.append("re-initialised")
    return " ".join(words)
