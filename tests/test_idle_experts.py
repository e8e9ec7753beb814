"""Laws of experts that no token is sent to: they have gradients, of zeros, and change nothing."""

import pytest
import torch
from tiny_models import make_hf_model

from tstruns.idle_experts import run_idle_experts


def trained(family, ids, *, run_idle, checkpointing=False):
    """A model after two backward passes, and its last loss."""
    model = make_hf_model(family, use_cache=False)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if run_idle:
        run_idle_experts(model)
    model.train()
    for row in ids:
        model.zero_grad()
        loss = model(input_ids=row[None], labels=row[None]).loss
        loss.backward()
    return model, loss


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", ["qwen3-moe", "mixtral"])
def test_expert_without_tokens_has_a_gradient_of_zeros_and_nothing_else_changes(family, checkpointing):
    ids = torch.tensor([[3, 9], [5, 7]])  # at most four of each layer's experts see the two tokens
    (plain, loss), (helped, same) = (
        trained(family, ids, run_idle=run_idle, checkpointing=checkpointing) for run_idle in (False, True)
    )
    assert same == loss
    left_out = 0
    for (name, weight), (_, other) in zip(plain.named_parameters(), helped.named_parameters(), strict=True):
        if weight.grad is None:
            left_out += 1
            assert not other.grad.any(), name
        else:
            assert other.grad.equal(weight.grad), name
    assert left_out > 0


def test_model_without_experts_is_left_as_it_is():
    model = make_hf_model("llama")
    run_idle_experts(model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
