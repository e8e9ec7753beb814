"""The table of arms, read and checked; and each of its runs as the YAML that `tst train` takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

SAVES_A_RUN = 16
TABLES = ("main", "scale")


class Section(BaseModel):
    """Base of all: unknown keys and coerced types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Corpus(Section):
    """Where the text comes from: Debian's documentation and sources, or this Python's own library."""

    kind: Literal["debian", "python"]
    megabytes: int


class Model(Section):
    """A small Llama's shape."""

    width: int
    layers: int
    heads: int


class ArmSettings(Section):
    """One arm; without `bag_size` a baseline. `lr` is the table's unless given."""

    model: str
    steps: int
    bag_size: int = 1
    ratio: float = 0.0
    mode: Literal["full", "input_only", "output_only"] = "full"
    weighting: str = "uniform"
    lr: float | None = None
    reinitialise: bool = False
    seeds: list[int] = [1]

    @property
    def setting(self) -> tuple[str, float | None]:
        """What an arm and the baselines it is compared with share, besides length."""
        return self.model, self.lr


class Claim(Section):
    """What the paper found: the loss of one arm is below another's."""

    claim: str
    lower: str
    higher: str


class Experiment(Section):
    """The whole table."""

    corpus: Corpus
    holdout: float
    vocab_size: int
    seq_len: int
    rows: int
    eval_batches: int
    lr: float
    t_warmup: str
    models: dict[str, Model]
    arms: dict[str, ArmSettings]
    reports: dict[str, list[str]]
    claims: list[Claim]

    def runs(self) -> "list[Run]":
        """Returns every seed of every arm, in the table's order."""
        return [Run(name, seed) for name, arm in self.arms.items() for seed in arm.seeds]


@dataclass(frozen=True)
class Run:
    """One seed of an arm."""

    arm: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its directory."""
        return f"{self.arm}-seed{self.seed}"


def load_table(name: str) -> Experiment:
    """Reads a table that lies beside this file."""
    return load(Path(__file__).with_name(f"{name}.yaml"))


def load(file: Path) -> Experiment:
    """Reads a table.

    Raises:
        ValueError: A key is unknown, or a name in it means nothing.
    """
    import yaml

    experiment = Experiment.model_validate(yaml.safe_load(file.read_text()))
    named = {name for names in experiment.reports.values() for name in names}
    named |= {name for claim in experiment.claims for name in (claim.lower, claim.higher)}
    unknown = sorted(named - set(experiment.arms))
    unknown += sorted({arm.model for arm in experiment.arms.values()} - set(experiment.models))
    if unknown:
        raise ValueError(f"{file} names {', '.join(unknown)}, of which it says nothing else")
    return experiment


def config_of(experiment: Experiment, run: Run, work: Path) -> dict[str, Any]:
    """Returns the YAML values of one run."""
    arm = experiment.arms[run.arm]
    model = experiment.models[arm.model]
    switch = round(arm.ratio * arm.steps)
    data: dict[str, Any] = {"local": str(work / "data" / "train"), "shuffle": True, "shuffle_seed": run.seed}
    algorithms: dict[str, Any] = {"gradient_clipping": {}}
    if switch:
        superposition: dict[str, Any] = {"mode": arm.mode, "weighting": arm.weighting}
        if arm.mode == "output_only":
            superposition |= {"bag_size": arm.bag_size, "duration": f"{switch}ba"}
        else:
            data |= {"bag_size": arm.bag_size, "superposition_batches": switch}
        algorithms["token_superposition"] = superposition
    if arm.reinitialise:
        algorithms["reinitialise_embeddings"] = {}
    return {
        "run_dir": str(work / "runs" / run.name),
        "max_duration": f"{arm.steps}ba",
        "global_train_batch_size": experiment.rows,
        "seed": run.seed,
        "progress_bar": False,
        "model": {
            "name": "hf_causal_lm",
            "config": {
                "model_type": "llama",
                "hidden_size": model.width,
                "intermediate_size": model.width * 8 // 3 // 8 * 8,
                "num_hidden_layers": model.layers,
                "num_attention_heads": model.heads,
                "num_key_value_heads": model.heads,
                "max_position_embeddings": experiment.seq_len,
                "tie_word_embeddings": False,
            },
        },
        "optimizer": {"name": "adamw", "lr": arm.lr or experiment.lr, "weight_decay": 0.1},
        "scheduler": {"name": "wsd", "t_warmup": experiment.t_warmup, "t_decay": "0.1dur"},
        "train_loader": {"name": "bag_shards", "dataset": data},
        "eval_loader": {"name": "bag_shards", "dataset": {"local": str(work / "data" / "val")}},
        "eval_interval": f"{max(1, arm.steps // SAVES_A_RUN)}ba",
        "eval_subset_num_batches": experiment.eval_batches,
        "save_interval": f"{max(1, arm.steps // SAVES_A_RUN)}ba",
        "save_num_checkpoints_to_keep": 1,
        "algorithms": algorithms,
    }
