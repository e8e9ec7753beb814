"""Experts that no token of a batch is sent to: on several ranks they must take part all the same."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["run_idle_experts"]


def run_idle_experts(model: "torch.nn.Module") -> None:
    """Makes each expert of a mixture have a gradient in every backward pass, of zeros where it had no token.

    transformers calls only the experts that tokens were sent to, which on another rank are others. FSDP2 and
    DDP then reduce gradients of different weights together: with gloo the run ends in "op.preamble.length".
    An idle expert is run on no tokens, which costs nothing and adds exactly 0. Call it before the Trainer is
    built; modules without ``experts`` in a list are left alone.
    """
    import torch

    for block in list(model.modules()):
        experts = getattr(block, "experts", None)
        if isinstance(experts, torch.nn.ModuleList):
            _watch(block, experts)


def _watch(block: "torch.nn.Module", experts: "torch.nn.ModuleList") -> None:
    called: set[int] = set()
    for place, expert in enumerate(experts):
        # place is bound here: each hook notes its own expert.
        expert.register_forward_pre_hook(lambda *_, place=place: called.add(place))

    def run_the_idle(_: Any, args: tuple["torch.Tensor", ...], output: Any) -> Any:
        no_tokens = args[0].flatten(0, -2)[:0]
        idle = [expert for place, expert in enumerate(experts) if place not in called]
        if not idle:
            return output
        nothing = sum(expert(no_tokens).sum() for expert in idle)
        if isinstance(output, tuple):
            return output[0] + nothing, *output[1:]
        return output + nothing

    # Cleared here and not after: a checkpointed layer that is run again in backward stops before its end.
    block.register_forward_pre_hook(lambda *_: called.clear())
    block.register_forward_hook(run_the_idle)
