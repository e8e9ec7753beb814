"""Optimizers, algorithms, callbacks and loggers by their YAML names, each built from its checked section."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from pydantic import BaseModel

    from .config import Optimizer, RunConfig
    from .run_directory import RunDirectory


def build_optimizer(section: "Optimizer", model: "torch.nn.Module") -> "torch.optim.Optimizer":
    """Returns the optimizer of an `optimizer` section over all parameters of the model."""
    import torch
    from composer.optim import DecoupledAdamW

    named = {"decoupled_adamw": DecoupledAdamW, "adamw": torch.optim.AdamW}
    arguments = section.model_dump(exclude={"name"})
    arguments["betas"] = tuple(arguments["betas"])
    return named[section.name](model.parameters(), **arguments)


def build_algorithms(config: "RunConfig") -> list[Any]:
    """Returns the algorithms of an `algorithms` section."""
    from composer.algorithms import GradientClipping

    from composer_algo import TokenSuperposition

    from .reinitialise import ReinitialiseEmbeddings

    named = {
        "token_superposition": TokenSuperposition,
        "gradient_clipping": GradientClipping,
        "reinitialise_embeddings": ReinitialiseEmbeddings,
    }
    return [named[name](**arguments) for name, arguments in _switched_on(config.algorithms)]


def build_callbacks(config: "RunConfig") -> list[Any]:
    """Returns the callbacks of a `callbacks` section."""
    from composer import callbacks

    named = {
        "speed_monitor": callbacks.SpeedMonitor,
        "lr_monitor": callbacks.LRMonitor,
        "optimizer_monitor": callbacks.OptimizerMonitor,
        "memory_monitor": callbacks.MemoryMonitor,
        "nan_monitor": callbacks.NaNMonitor,
        "runtime_estimator": callbacks.RuntimeEstimator,
    }
    return [named[name](**arguments) for name, arguments in _switched_on(config.callbacks)]


def build_loggers(config: "RunConfig", run: "RunDirectory") -> list[Any]:
    """Returns the loggers of a `loggers` section.

    Raises:
        ValueError: A named logger's own package is not installed.
    """
    from composer.loggers import TensorboardLogger, WandBLogger

    named = {"tensorboard": TensorboardLogger, "wandb": WandBLogger}
    built = []
    for name, arguments in _switched_on(config.loggers):
        if name == "tensorboard":
            arguments.setdefault("log_dir", str(run.path / "tensorboard"))
        try:
            built.append(named[name](**arguments))
        except ImportError as error:
            raise ValueError(f"loggers.{name}: its package is not installed; pip install {name}") from error
    return built


def _switched_on(section: "BaseModel") -> list[tuple[str, dict[str, Any]]]:
    """Returns (name, arguments) of every subsection that is not null, without arguments that are null."""
    subsections = [(name, getattr(section, name)) for name in type(section).model_fields]
    return [(name, part.model_dump(exclude_none=True)) for name, part in subsections if part is not None]
