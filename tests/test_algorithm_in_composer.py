"""Laws of superposition beside what Composer's users have in their runs."""

import copy

import pytest
import torch
from composer.algorithms import EMA, GradientClipping
from composer.callbacks import CheckpointSaver, OptimizerMonitor, SpeedMonitor
from composer.core import Algorithm, Callback, DataSpec, Event
from composer.optim import CosineAnnealingWithWarmupScheduler
from tiny_models import BAG_SIZE, SEQ_LEN, make_model
from tiny_runs import GLOBAL_BATCH, BagRows, Rows, load, train

from composer_algo import TokenSuperposition, bag_weights
from composer_algo.batch import COUNTS

SWITCH = 2
# How labels are ignored, row by row of a batch of four: unevenly, so that means of means are not the mean.
IGNORED = (0, 3, 17, 40)


def collate_ignoring(rows):
    """Labels of which each row ignores another number, at places that no bag ends at."""
    ids = torch.stack(rows)
    labels = ids.clone()
    for row, count in enumerate(IGNORED):
        labels[row, 1 : 1 + count % ids.shape[1]] = -100
    return {"input_ids": ids, "labels": labels}


def count_tokens(batch):
    """As LLM Foundry counts: by the batch's own lists where it has them, else by its labels."""
    total = batch["input_ids"].numel()
    if set(COUNTS) <= set(batch):
        return dict(zip(("total", "loss_generating"), (sum(batch[name]) for name in COUNTS), strict=True))
    return {"total": total, "loss_generating": int((batch["labels"][:, 1:] != -100).sum())}


def run(size, *, on_tokens, superposes=True, **settings):
    data = load(BagRows(4, SWITCH), collate_fn=collate_ignoring)
    return train(
        TokenSuperposition(**settings) if superposes else None,
        DataSpec(data, get_num_tokens_in_batch=count_tokens),
        num_batches=4,
        device_train_microbatch_size=size,
        accumulate_train_batch_on_tokens=on_tokens,
    )


SETTINGS = {
    "uniform": {},
    "power law": {"weighting": "power_law"},
    "numbers": {"weighting": [4, 0, 1, 2]},
    "input only": {"mode": "input_only"},
    "sum to one": {"alternative": "sum_to_one"},
    "from logits": {"fused_loss": False},
    "fused in both phases": {"fused_loss": "always"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_microbatches_accumulated_on_tokens_are_exact_whatever_labels_are_ignored(settings):
    whole = run(GLOBAL_BATCH, on_tokens=True, **settings).losses
    for size in (1, 2, 3):
        # Later losses are those of the updates before them.
        assert run(size, on_tokens=True, **settings).losses == pytest.approx(whole, rel=2e-5), size


def test_microbatches_accumulated_on_samples_average_averages_when_labels_are_ignored():
    split, whole = (run(size, on_tokens=False).losses[0] for size in (1, GLOBAL_BATCH))
    # Documented, and so with every loss in Composer: this is why there is accumulation on tokens.
    assert abs(split - whole) > 1e-4 * whole


def test_row_shares_are_the_weights_of_the_targets_that_are_left():
    seen = {}

    class Watch(Algorithm):
        def match(self, event, state):
            return event == Event.BATCH_START and state.timestamp.batch == 0

        def apply(self, event, state, logger):
            seen.update(state.batch)

    data = DataSpec(load(BagRows(2, 1), collate_fn=collate_ignoring))
    train([TokenSuperposition(weighting="power_law"), Watch()], data, num_batches=1)
    weights = bag_weights("power_law", BAG_SIZE)
    labels = collate_ignoring([BagRows(2, 1)[row] for row in range(GLOBAL_BATCH)])["labels"]
    expected = [
        sum(float(weights[i % BAG_SIZE]) for i in range(BAG_SIZE, len(row)) if row[i] != -100)
        for row in labels
    ]
    assert seen[COUNTS[1]] == pytest.approx(expected, rel=1e-6)
    assert seen[COUNTS[0]] == [SEQ_LEN * BAG_SIZE] * GLOBAL_BATCH


@pytest.mark.parametrize("mode", ["full", "input_only", "output_only"])
def test_loss_in_the_heads_place_trains_the_same_run(mode):
    def losses(fused):
        given = (BAG_SIZE, "2ba") if mode == "output_only" else (None, None)
        data = Rows(4) if mode == "output_only" else BagRows(4, SWITCH)
        model = make_model()
        model.train_metrics = {}
        return train(
            TokenSuperposition(*given, mode=mode, fused_loss=fused), data, num_batches=4, model=model
        )

    plain = losses(False)
    for fused in (True, "always"):
        done = losses(fused)
        assert done.losses == pytest.approx(plain.losses, rel=2e-5)
        assert len(done.logged("superposition/mce")) == SWITCH
    assert len(done.logged("loss/train/total")) == 4


class LargestTensor(torch.utils._python_dispatch.TorchDispatchMode):
    """The most elements that any operation's result has."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in torch.utils._pytree.tree_leaves(result):
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.numel())
        return result


@pytest.mark.parametrize("fused", [True, False])
def test_no_tensor_of_all_logits_is_made_in_the_heads_place(fused):
    vocabulary, rows = 4096, 4
    data = BagRows(1, 1)
    data.ids = data.ids[:rows]
    model = make_model(vocab_size=vocabulary)
    with LargestTensor() as largest:
        train(TokenSuperposition(fused_loss=fused), data, num_batches=1, model=model)
    all_logits = rows * SEQ_LEN * vocabulary
    weights = max(parameter.numel() for parameter in model.parameters())
    if fused:
        assert largest.elements <= max(weights, all_logits // 4)
    else:
        assert largest.elements == all_logits


def test_throughput_counts_text_and_latent_positions():
    done = train(TokenSuperposition(), BagRows(4, SWITCH), num_batches=4)
    text = done.logged("throughput/data_tokens_per_sec")
    latent = done.logged("throughput/equivalent_tokens_per_sec")
    ratios = [data / equivalent for data, equivalent in zip(text, latent, strict=True)]
    assert ratios == pytest.approx([BAG_SIZE] * SWITCH + [1] * 2)


class AddUp(Callback):
    """What a user's own callback sees at the end of each batch."""

    def __init__(self):
        self.outputs = []

    def batch_end(self, state, logger):
        self.outputs.append(copy.copy(state.outputs))


def test_run_with_all_that_composers_users_add_trains_and_resumes(tmp_path):
    def go(num_batches, **changes):
        return train(
            [
                TokenSuperposition(),
                GradientClipping("norm", 0.5),
                EMA(half_life="2ba", update_interval="1ba"),
            ],
            BagRows(6, SWITCH),
            num_batches=num_batches,
            model=make_model(),
            callbacks=[
                SpeedMonitor(window_size=1),
                OptimizerMonitor(batch_log_interval=1),
                AddUp(),
                CheckpointSaver(str(tmp_path), "ba{batch}.pt", save_interval="1ba", overwrite=True),
            ],
            schedulers=CosineAnnealingWithWarmupScheduler(t_warmup="1ba", t_max="6ba"),
            eval_dataloader=load(Rows(1, seed=5)),
            eval_interval="2ba",
            **changes,
        )

    whole = go(6)
    assert whole.logged("superposition/phase") == [1] * SWITCH + [2] * 4
    assert max(whole.logged("l2_norm/grad/global")) > 0
    assert len(whole.logged("throughput/tokens_per_sec")) >= 5
    for stop in (1, SWITCH, 4):
        resumed = go(6, load_path=str(tmp_path / f"ba{stop}.pt"))
        assert resumed.losses == whole.losses[stop:], stop


def test_clipping_sees_the_gradients_of_both_phases():
    free = train(TokenSuperposition(), BagRows(4, SWITCH), num_batches=4)
    clipped = train([TokenSuperposition(), GradientClipping("norm", 1e-4)], BagRows(4, SWITCH), num_batches=4)
    assert clipped.losses[0] == free.losses[0]
    assert all(a != b for a, b in zip(clipped.losses[1:], free.losses[1:], strict=True))


def test_low_precision_on_a_cpu_is_refused_by_composer_itself():
    with pytest.raises(ValueError, match="not supported for CPU"):
        train(TokenSuperposition(), BagRows(2, 1), precision="amp_bf16")


@pytest.mark.parametrize("fused", [True, False])
def test_loss_under_bfloat16_autocast_is_near_that_of_float32(fused):
    losses = []
    for enabled in (True, False):
        model = make_model()

        def forward(batch, *, native=model.forward, enabled=enabled):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                return native(batch)

        model.forward = forward
        losses.append(
            train(TokenSuperposition(fused_loss=fused), BagRows(4, SWITCH), num_batches=4, model=model).losses
        )
    assert losses[0] == pytest.approx(losses[1], rel=5e-3)
    assert losses[0] != losses[1]
