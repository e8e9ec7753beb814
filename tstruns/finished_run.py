"""A finished run as `tst compare` reads it: config, totals and metrics; and whether runs can be compared."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .run_directory import RunDirectory, flat

__all__ = ["FinishedRun", "check_comparable", "load_run"]

EVAL_LOSS = "metrics/eval/LanguageCrossEntropy"
# What summary.json must say; each is there since runs have been comparable.
NEEDED = ("steps", "superposition_steps", "tokens", "equivalent_tokens", "flops_per_position", "train_data")
# Keys of `model` that leave the model the same: vocab_size may be given or be the data's (parameters tell).
SAME_MODEL = ("model.config.vocab_size", "model.config.attn_implementation")


@dataclass(frozen=True)
class FinishedRun:
    """One run directory, read. Losses are next-token cross-entropies in nats a token."""

    path: Path
    config: dict[str, Any]
    summary: dict[str, Any]
    lines: list[dict[str, Any]]

    @cached_property
    def keys(self) -> dict[str, Any]:
        """The config as {dotted key: value}."""
        return flat(self.config)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run, those of a checkpoint it began from included."""
        return int(self.summary["steps"])

    @property
    def tokens(self) -> int:
        """Tokens of text read."""
        return int(self.summary["tokens"])

    @property
    def flops(self) -> int:
        """Training FLOPs: latent positions times those of one."""
        return int(self.summary["equivalent_tokens"] * self.summary["flops_per_position"])

    @property
    def hours(self) -> float:
        """Hours of training, evaluation left out, on as many ranks as it ran."""
        return float(self.summary["wall_seconds"]) / 3600

    @property
    def eval_loss(self) -> float:
        """The last evaluation's loss."""
        return float(self.summary["eval"][EVAL_LOSS])

    @property
    def train_loss(self) -> float | None:
        """Mean training loss of the last batches."""
        return self.summary["train_loss"]

    @property
    def seeds(self) -> tuple[int, int | None]:
        """The seed of the weights and that of the shuffle."""
        return self.keys["seed"], self.keys.get("train_loader.dataset.shuffle_seed")


def load_run(path: Path) -> FinishedRun:
    """Reads a run directory.

    Raises:
        FileNotFoundError: It is no run's.
        ValueError: The run is not finished, was not evaluated at its end, or is of another version.
    """
    directory = RunDirectory(path)
    if not directory.config_file.is_file():
        raise FileNotFoundError(f"{path} has no config.yaml: it is no run directory of `tst train`")
    config, summary, lines = directory.config(), directory.summary(), list(directory.metrics())
    if summary is None:
        done = lines[-1]["batch"] if lines else 0
        raise ValueError(
            f"{path} is not finished (batch {done} of {config['max_duration']}); finish it with: "
            f"tst train {directory.config_file}"
        )
    missing = [key for key in NEEDED if key not in summary]
    if missing:
        raise ValueError(
            f"{directory.summary_file} has no {', '.join(missing)}: another version of `tst train` wrote it; "
            "train the run again, or leave it out"
        )
    if summary["flops_per_position"] is None:
        raise ValueError(f"{path}: the FLOPs of this model could not be counted (its log.txt says why)")
    if config.get("load_weights_only"):
        raise ValueError(
            f"{path} began from another run's weights (load_weights_only): its steps and FLOPs are not all "
            "that it took; leave it out"
        )
    _check_evaluated(path, summary)
    return FinishedRun(path, config, summary, lines)


def _check_evaluated(path: Path, summary: dict[str, Any]) -> None:
    if EVAL_LOSS not in summary["eval"] or summary["eval_step"] != summary["steps"]:
        raise ValueError(
            f"{path} has no evaluation at its end, and training losses of different data are no comparison; "
            "give its YAML an eval_loader and train it again"
        )
    if summary["eval"][EVAL_LOSS] is None:
        raise ValueError(f"{path} ended with a loss that is not finite: it has diverged; leave it out")


def check_comparable(runs: list[FinishedRun]) -> None:
    """Refuses runs whose losses mean different things.

    Raises:
        ValueError: Two runs differ in model, L, tokenizer, training data or evaluation; each is named.
    """
    first = runs[0]
    for run in runs[1:]:
        mine, theirs = _what_must_agree(first), _what_must_agree(run)
        differing = [
            f"{key}: {mine.get(key)} there, {theirs.get(key)} here"
            for key in {**mine, **theirs}
            if mine.get(key) != theirs.get(key)
        ]
        if differing:
            lines = "\n  ".join(differing)
            raise ValueError(
                f"{first.path} and {run.path} cannot be compared:\n  {lines}\nA loss is comparable only for "
                "one model, L, tokenizer, corpus and evaluation: give runs that share them."
            )


def _what_must_agree(run: FinishedRun) -> dict[str, Any]:
    data, evaluated = run.summary["train_data"], run.summary["eval_data"]
    model = {key: value for key, value in run.keys.items() if key.startswith("model.")}
    return {
        "L": data["seq_len"],
        "tokenizer (sha256)": data["tokenizer_sha256"],
        "training data (sha256)": data["sha256"],
        "evaluation data (sha256)": evaluated["sha256"],
        "rows of an evaluation": evaluated["rows"],
        "L of the evaluation": evaluated["seq_len"],
        "parameters": run.summary["num_parameters"],
        **{key: value for key, value in model.items() if key not in SAME_MODEL},
    }
