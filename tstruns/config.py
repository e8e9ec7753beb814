"""A run's YAML as one checked object: `RunConfig`, with the sections of `sections.py` and `monitors.py`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from .monitors import Callbacks, Loggers
from .sections import (
    FSDP,
    AdamW,
    Algorithms,
    BagShards,
    Compile,
    ConstantWithWarmup,
    CosineWithWarmup,
    DecoupledAdamW,
    Duration,
    HFCausalLM,
    KeptCheckpoints,
    LinearDecayWithWarmup,
    Microbatch,
    NonNegativeInt,
    PositiveInt,
    Section,
    Time,
    Tokenizer,
    WarmupStableDecay,
)

Optimizer = Annotated[DecoupledAdamW | AdamW, Field(discriminator="name")]
Scheduler = Annotated[
    WarmupStableDecay | ConstantWithWarmup | CosineWithWarmup | LinearDecayWithWarmup,
    Field(discriminator="name"),
]

# What a resumed run may have different from the run directory's config.yaml: nothing that changes a loss by
# more than rounding. `max_duration` may only grow. `train_loader` and `eval_loader` stand for both of their
# like-named keys.
CHANGEABLE = frozenset(
    {
        "run_dir",
        "max_duration",
        "save_interval",
        "save_num_checkpoints_to_keep",
        "load_path",
        "progress_bar",
        "dist_timeout",
        "fsdp_config",
        "compile_config",
        "model.config.use_cache",
        "callbacks",
        "loggers",
        *(
            f"{loader}.{key}"
            for loader in ("train_loader", "eval_loader")
            for key in (
                "num_workers",
                "prefetch_factor",
                "persistent_workers",
                "pin_memory",
                "timeout",
                "dataset.remote",
                "dataset.local",
                "dataset.predownload",
                "dataset.cache_limit",
                "dataset.download_retry",
                "dataset.download_timeout",
                "dataset.keep_zip",
            )
        ),
    }
)


class RunConfig(Section):
    """Everything one run is made of; see docs/train.md for each key."""

    run_dir: str
    max_duration: Duration
    global_train_batch_size: PositiveInt
    device_train_microbatch_size: Microbatch = None
    device_eval_batch_size: PositiveInt | None = None
    accumulate_train_batch_on_tokens: bool = False
    seed: NonNegativeInt = 17
    precision: Literal["fp32", "amp_bf16", "amp_fp16"] = "fp32"
    fsdp_config: FSDP | None = None
    compile_config: Compile | None = None

    model: HFCausalLM
    tokenizer: Tokenizer | None = None
    optimizer: Optimizer
    scheduler: Scheduler
    train_loader: BagShards
    eval_loader: BagShards | None = None
    algorithms: Algorithms = Algorithms()

    eval_interval: Time = "1dur"
    eval_subset_num_batches: Annotated[int, Field(ge=-1)] = -1
    save_interval: Time = "1dur"
    save_num_checkpoints_to_keep: KeptCheckpoints = -1
    load_path: str | None = None
    load_weights_only: bool = False

    callbacks: Callbacks = Callbacks()
    loggers: Loggers = Loggers()
    progress_bar: bool = True
    dist_timeout: Annotated[float, Field(gt=0)] = 600.0
    # A place for the file's own ${variables.name} values: read by interpolation only.
    variables: dict[str, Any] = Field(default_factory=dict)

    def as_run(self) -> dict[str, Any]:
        """Returns the config as plain YAML values, defaults filled in and interpolations resolved."""
        return self.model_dump(exclude={"variables"})
