"""The re-initialisation control: both ends are drawn anew at the switch, and nothing else changes."""

import socket

import pytest
import torch
from composer import Callback
from draw_ranks import draw_on_a_rank
from tiny_models import BAG_SIZE, make_model
from tiny_runs import BagRows, train

from composer_algo import TokenSuperposition
from tstruns.reinitialise import ReinitialiseEmbeddings

SWITCH, STEPS = 3, 6
ENDS = ("embed_tokens.weight", "lm_head.weight")


class WeightsBefore(Callback):
    """Keeps every weight as the forward pass of each batch finds it."""

    def __init__(self) -> None:
        self.seen: dict[int, dict[str, torch.Tensor]] = {}

    def before_forward(self, state, logger) -> None:
        self.seen[int(state.timestamp.batch)] = {k: v.clone() for k, v in state.model.state_dict().items()}


def run(*more, family: str = "llama", **changes):
    """A run with the switch at batch 3 and the weights each batch began with."""
    watch = WeightsBefore()
    superposition = TokenSuperposition(bag_size=BAG_SIZE)
    done = train(
        [superposition, *more],
        BagRows(STEPS, SWITCH),
        num_batches=STEPS,
        model=make_model(family),
        callbacks=[watch],
        **changes,
    )
    return done, watch.seen


def test_only_the_two_ends_change_and_only_at_the_switch():
    (plain, before), (control, after) = run(), run(ReinitialiseEmbeddings())
    assert control.losses[:SWITCH] == plain.losses[:SWITCH]
    for name, weight in before[SWITCH].items():
        same = torch.equal(weight, after[SWITCH][name])
        assert same == (not name.endswith(ENDS)), name
    assert control.losses[SWITCH] != plain.losses[SWITCH]


def test_both_ends_are_drawn_as_the_model_draws_them_and_apart():
    _, seen = run(ReinitialiseEmbeddings())
    embedding, head = (next(w for n, w in seen[SWITCH].items() if n.endswith(end)) for end in ENDS)
    for weight in (embedding, head):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert abs(weight.mean().item()) < 0.002
    assert not torch.equal(embedding, head)
    # Nor are they what the run began with, which would be a rewind.
    assert not torch.equal(embedding, next(w for n, w in seen[0].items() if n.endswith(ENDS[0])))


def test_tied_ends_stay_one_weight():
    done, seen = run(ReinitialiseEmbeddings(), family="llama-tied")
    model = done.trainer.state.model.model
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert torch.equal(*(next(w for n, w in seen[SWITCH].items() if n.endswith(end)) for end in ENDS))


@pytest.mark.parametrize("resumed_at", [2, SWITCH, 4])
def test_a_resumed_run_draws_the_same_and_only_once(resumed_at, tmp_path):
    whole, _ = run(ReinitialiseEmbeddings(), save_folder=str(tmp_path), save_interval="1ba")
    resumed, _ = run(ReinitialiseEmbeddings(), load_path=str(tmp_path / f"ep0-ba{resumed_at}-rank0.pt"))
    assert resumed.losses == whole.losses[resumed_at:]
    assert all(torch.equal(weight, resumed.weights[name]) for name, weight in whole.weights.items())


def test_without_superposition_there_is_no_switch_to_act_at():
    with pytest.raises(ValueError, match="TokenSuperposition, and the run has none"):
        train([ReinitialiseEmbeddings()], BagRows(STEPS, 0), num_batches=STEPS)


@pytest.mark.slow
def test_ranks_draw_alike_whether_the_weight_is_sharded_or_not():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with torch.multiprocessing.get_context("spawn").Manager() as manager:
        results = manager.dict()
        torch.multiprocessing.spawn(draw_on_a_rank, (port, results), nprocs=2)
        (first, alone), *rest = (results[rank] for rank in range(2))
    assert first.unique().numel() == 21
    assert torch.equal(first, alone)
    assert all(torch.equal(first, weight) for pair in rest for weight in pair)
