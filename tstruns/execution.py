"""How a model is spread over ranks and compiled: the `fsdp_config` and `compile_config` sections, built."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .idle_experts import run_idle_experts
from .problems import nearest

if TYPE_CHECKING:
    import torch
    from composer import Trainer
    from composer.models import HuggingFaceModel

    from .config import RunConfig


def execution(config: "RunConfig", model: "HuggingFaceModel") -> dict[str, Any]:
    """Returns the Trainer's arguments about FSDP2 and torch.compile, and tells the model what to shard.

    One rank has nothing to shard: there `fsdp_config` does nothing, so that one YAML serves any number.

    Raises:
        ValueError: torch.compile has no such backend here.
    """
    from composer.utils import FSDP2Config, dist

    arguments: dict[str, Any] = {}
    if config.compile_config is not None:
        arguments["compile_config"] = config.compile_config.model_dump(exclude_none=True)
        _check_backend(config.compile_config.backend)
    if dist.get_world_size() > 1:
        run_idle_experts(model.model)
    if config.fsdp_config is not None and dist.get_world_size() > 1:
        is_layer = _layers_of(model.model)
        model.model.fsdp_wrap_fn = model.model.activation_checkpointing_fn = is_layer
        # Whole, for a checkpoint of a run directory is one file that any number of ranks goes on from.
        sharding = FSDP2Config(**config.fsdp_config.model_dump(), state_dict_type="full")
        arguments["parallelism_config"] = {"fsdp": sharding}
    return arguments


def average_gradients(trainer: "Trainer") -> None:
    """Makes FSDP2 average gradients over gloo ranks; a no-op in every other run.

    torch 2.7 asks the backend for an average, and gloo's reduce-scatter answers with the sum. Adam hides it,
    for a gradient's size cancels there; clipping and the moments in a checkpoint do not.
    """
    import torch.distributed
    from composer.utils import dist
    from torch.distributed.fsdp import FSDPModule

    if not torch.distributed.is_initialized() or torch.distributed.get_backend() != "gloo":
        return
    num_ranks = dist.get_world_size()

    def divide(reduced: "torch.Tensor") -> None:
        reduced.div_(num_ranks)

    for module in trainer.state.model.modules():
        if isinstance(module, FSDPModule):
            module.set_all_reduce_hook(divide)


def _check_backend(backend: str | None) -> None:
    from torch._dynamo import list_backends

    known = list_backends(exclude_tags=())
    if backend is not None and backend not in known:
        raise ValueError(f"compile_config.backend: found {backend!r}; {nearest(backend, known)}")


def _layers_of(model: "torch.nn.Module") -> "Callable[[torch.nn.Module], bool]":
    """Returns whether a module is one of the decoder's layers, by the classes transformers keeps whole."""
    names = frozenset(getattr(model, "_no_split_modules", None) or ())
    return lambda module: type(module).__name__ in names
