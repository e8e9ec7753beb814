"""What the demo trains: sizes that show something in minutes on two cores."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ARMS = ("baseline", "tst")


@dataclass(frozen=True)
class DemoSettings:
    """The demo's model, data and schedule; both arms have the same steps, rows and row length."""

    vocab_size: int = 1024
    seq_len: int = 64
    hidden_size: int = 32
    num_layers: int = 2
    num_heads: int = 2
    rows: int = 16
    steps: int = 7000
    bag_size: int = 2
    superposition_ratio: float = 0.3
    lr: float = 4e-3
    train_bytes: int = 28_000_000
    heldout_bytes: int = 300_000
    seed: int = 17

    @property
    def switch(self) -> int:
        """P: the step of the switch, superposed steps before it."""
        return round(self.superposition_ratio * self.steps)

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


def arm_config(settings: DemoSettings, arm: str, out: Path) -> dict[str, Any]:
    """Returns the YAML values of one arm, `baseline` or `tst`: what a user would write for `tst train`."""
    superposed = arm == "tst"
    data: dict[str, Any] = {"local": str(out / "train"), "shuffle": True, "shuffle_seed": settings.seed}
    algorithms: dict[str, Any] = {"gradient_clipping": {"clipping_type": "norm", "clipping_threshold": 1.0}}
    if superposed:
        data |= {"bag_size": settings.bag_size, "superposition_batches": settings.switch}
        algorithms |= {"token_superposition": {}}
    return {
        "run_dir": str(out / arm),
        "max_duration": f"{settings.steps}ba",
        "global_train_batch_size": settings.rows,
        "seed": settings.seed,
        "model": {
            "name": "hf_causal_lm",
            "config": {
                "model_type": "llama",
                "hidden_size": settings.hidden_size,
                "intermediate_size": settings.hidden_size * 8 // 3 // 8 * 8,
                "num_hidden_layers": settings.num_layers,
                "num_attention_heads": settings.num_heads,
                "max_position_embeddings": settings.seq_len,
            },
        },
        "optimizer": {"name": "decoupled_adamw", "lr": settings.lr, "weight_decay": 0.0},
        "scheduler": {"name": "wsd", "t_warmup": "0.02dur", "t_decay": "0.2dur"},
        "train_loader": {"name": "bag_shards", "dataset": data},
        "eval_loader": {"name": "bag_shards", "dataset": {"local": str(out / "heldout")}},
        "eval_interval": "0.1dur",
        "algorithms": algorithms,
        "save_interval": "0.1dur",
        "save_num_checkpoints_to_keep": 1,
        "progress_bar": False,
    }
