"""The `callbacks` and `loggers` sections: what may watch a run, with Composer's own names and arguments."""

from typing import Annotated, Literal

from pydantic import Field

from .sections import PositiveInt, Section

TimeUnit = Literal["seconds", "minutes", "hours", "days"]


class SpeedMonitor(Section):
    """Throughput in batches, samples and data tokens a second."""

    window_size: PositiveInt = 100
    time_unit: TimeUnit = "hours"
    gpu_flops_available: Annotated[float, Field(gt=0)] | None = None


class LRMonitor(Section):
    """The learning rate of every parameter group."""


class OptimizerMonitor(Section):
    """Gradient norms, and the optimizer's own moments with `log_optimizer_metrics`."""

    log_optimizer_metrics: bool = True
    batch_log_interval: PositiveInt = 10


class MemoryMonitor(Section):
    """CUDA memory; on a CPU it only warns that there is none."""


class NaNMonitor(Section):
    """Stops the run when a loss is not a number."""


class RuntimeEstimator(Section):
    """Remaining time."""

    skip_batches: PositiveInt = 1
    time_unit: TimeUnit = "hours"


class Callbacks(Section):
    """`callbacks`: what is named is on; null switches one off."""

    speed_monitor: SpeedMonitor | None = None
    lr_monitor: LRMonitor | None = None
    optimizer_monitor: OptimizerMonitor | None = None
    memory_monitor: MemoryMonitor | None = None
    nan_monitor: NaNMonitor | None = None
    runtime_estimator: RuntimeEstimator | None = None


class Tensorboard(Section):
    """TensorBoard event files; `pip install tensorboard` first. None: `tensorboard/` in the run directory."""

    log_dir: str | None = None
    flush_interval: PositiveInt = 100


class WandB(Section):
    """Weights & Biases; `pip install wandb` first."""

    project: str | None = None
    group: str | None = None
    name: str | None = None
    entity: str | None = None
    tags: list[str] | None = None


class Loggers(Section):
    """`loggers`: where metrics go besides the run directory's metrics.jsonl."""

    tensorboard: Tensorboard | None = None
    wandb: WandB | None = None
