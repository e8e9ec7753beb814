"""Laws of TokenSuperposition inside a Composer run."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from composer.loggers import LoggerDestination
from tiny_models import BAG_SIZE, SEQ_LEN, VOCABULARY, make_hf_model, make_model
from tiny_runs import GLOBAL_BATCH, BagRows, Rows, load, train

from composer_algo import TokenSuperposition

SWITCH = 3


def same_weights(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_run_superposes_until_the_switch_and_logs_what_it_does():
    data = BagRows(6, SWITCH)
    run = train(TokenSuperposition(), data)
    assert run.logged("superposition/phase") == [1, 1, 1, 2, 2, 2]
    assert run.logged("superposition/bag_size") == [BAG_SIZE] * 3 + [1] * 3
    assert run.logged("superposition/mce") == run.losses[:SWITCH]
    assert len(run.losses) == 6
    said = {
        "bag_size": BAG_SIZE,
        "superposition_batches": SWITCH,
        "vocab_size": VOCABULARY,
        "tokenizer": None,
    }
    assert data.attached == said
    hyperparameters = {
        key.removeprefix("superposition/"): value
        for key, value in run.logger.hyperparameters.items()
        if key.startswith("superposition/")
    }
    settings = {"duration": None, "weighting": "uniform", "mode": "full"}
    unused = {"alternative": None, "recovery_rows": None}
    assert hyperparameters == {
        "bag_size": BAG_SIZE,
        "switch_batch": SWITCH,
        "phase": 1,
        **settings,
        **unused,
    }


def test_losses_of_the_run_are_those_of_a_loop_written_by_hand():
    run = train(TokenSuperposition(weighting="power_law"), BagRows(6, SWITCH))
    model, data, losses = make_hf_model(), BagRows(6, SWITCH), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.95))
    for batch in range(6):
        ids = torch.stack([data[batch * GLOBAL_BATCH + row] for row in range(GLOBAL_BATCH)])
        bags = ids.view(GLOBAL_BATCH, SEQ_LEN, -1)
        logits = model(inputs_embeds=model.get_input_embeddings()(bags).mean(dim=2)).logits[:, :-1]
        weights = [1 / (i + 1) for i in range(bags.shape[-1])]
        terms = [
            F.cross_entropy(logits.flatten(0, 1), bags[:, 1:, i].flatten()) for i in range(bags.shape[-1])
        ]
        loss = sum(w * term for w, term in zip(weights, terms, strict=True)) / sum(weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert run.losses == pytest.approx(losses, rel=2e-5)


def test_output_only_attaches_to_bag_data_as_ordinary_rows():
    data = BagRows(4, 0)
    run = train(TokenSuperposition(3, "2ba", mode="output_only"), data, num_batches=4)
    assert data.attached is not None
    assert (data.attached["bag_size"], data.attached["superposition_batches"]) == (BAG_SIZE, 0)
    assert run.logged("superposition/bag_size") == [3, 3, 1, 1]
    assert run.losses[2:] != train(None, data, num_batches=4).losses[2:]


class Steps(LoggerDestination):
    """Which step each metric was logged for."""

    def __init__(self):
        self.steps = {}

    def log_metrics(self, metrics, step=None):
        for name in metrics:
            self.steps.setdefault(name, []).append(step)


def test_multi_hot_loss_is_logged_for_the_step_it_belongs_to():
    logger = Steps()
    train(TokenSuperposition(), BagRows(4, SWITCH), num_batches=4, loggers=[logger])
    assert logger.steps["superposition/mce"] == logger.steps["loss/train/total"][:SWITCH] == [0, 1, 2]
    assert logger.steps["superposition/phase"] == [0, 1, 2, 3]


@pytest.mark.parametrize("data", [BagRows(4, 0), Rows(4)], ids=["bag data", "ordinary data"])
def test_switch_at_batch_zero_is_bit_identical_to_no_algorithm(data):
    with_algorithm = train(TokenSuperposition(BAG_SIZE, "0ba"), data, num_batches=4)
    without = train(None, data, num_batches=4)
    assert with_algorithm.losses == without.losses
    assert same_weights(with_algorithm.weights, without.weights)
    metric = "metrics/train/LanguageCrossEntropy"
    assert with_algorithm.logged(metric) == without.logged(metric)


def test_after_the_switch_the_run_is_bit_identical_to_one_without_the_algorithm(tmp_path):
    saving = {"save_folder": str(tmp_path), "save_interval": "1ba", "save_filename": "ba{batch}.pt"}
    superposed = train(TokenSuperposition(), BagRows(6, SWITCH), **saving)
    plain = train(None, BagRows(6, SWITCH), load_path=str(tmp_path / f"ba{SWITCH}.pt"))
    assert plain.losses == superposed.losses[SWITCH:]
    assert same_weights(plain.weights, superposed.weights)


def test_state_dict_keys_never_change():
    names = list(make_model().state_dict())
    for num_batches in (SWITCH - 1, SWITCH, SWITCH + 1):
        assert list(train(TokenSuperposition(), BagRows(6, SWITCH), num_batches=num_batches).weights) == names


def test_evaluation_during_superposition_is_ordinary_next_token():
    evaluation = {"eval_dataloader": load(Rows(2, seed=5)), "eval_interval": "1ba"}
    run = train(TokenSuperposition(), BagRows(6, SWITCH), num_batches=2, **evaluation)
    plain = make_hf_model()
    plain.load_state_dict({key.removeprefix("model."): value for key, value in run.weights.items()})
    ids = Rows(2, seed=5).ids[:, :SEQ_LEN]
    with torch.no_grad():
        logits = plain.eval()(input_ids=ids).logits
    expected = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).item()
    logged = run.logged("metrics/eval/LanguageCrossEntropy")
    assert len(logged) == 2
    assert logged[-1] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("mode", ["full", "input_only"])
def test_next_token_train_metric_is_silent_while_bags_go_in(mode):
    run = train(TokenSuperposition(mode=mode), BagRows(6, SWITCH))
    stamps = [int(time.batch) for time, _ in run.logger.data["metrics/train/LanguageCrossEntropy"]]
    assert min(stamps) == SWITCH
    assert run.logged("metrics/train/LanguageCrossEntropy")[:3] == pytest.approx(
        run.losses[SWITCH:], rel=1e-5
    )


def test_next_token_train_metric_of_output_only_is_the_next_token_loss():
    algorithm = TokenSuperposition(BAG_SIZE, "3ba", mode="output_only", weighting="first_token")
    run = train(algorithm, Rows(6))
    # With all weight on the first token, output-only is ordinary next-token training.
    assert run.logged("metrics/train/LanguageCrossEntropy")[:6] == pytest.approx(run.losses, rel=1e-5)
    assert run.losses == pytest.approx(train(None, Rows(6)).losses, rel=1e-4)


@pytest.mark.parametrize("mode", ["full", "input_only", "output_only"])
@pytest.mark.parametrize("microbatch_size", [1, 2, 3])
def test_microbatches_give_the_same_losses(mode, microbatch_size):
    def run(size):
        bag_size, duration = (BAG_SIZE, "3ba") if mode == "output_only" else (None, None)
        data = Rows(4) if mode == "output_only" else BagRows(4, SWITCH)
        algorithm = TokenSuperposition(bag_size, duration, mode=mode)
        return train(algorithm, data, num_batches=4, device_train_microbatch_size=size)

    split, whole = run(microbatch_size), run(GLOBAL_BATCH)
    assert split.losses == pytest.approx(whole.losses, rel=1e-4)
    assert split.logged("superposition/mce") == pytest.approx(whole.losses[:SWITCH], rel=1e-4)


def test_mixture_of_experts_logs_the_multi_hot_part_of_its_loss_by_itself():
    run = train(TokenSuperposition(), BagRows(4, 2), num_batches=4, model=make_model("qwen3-moe"))
    total, mce = run.losses[:2], run.logged("superposition/mce")
    auxiliary = run.logged("loss/train/router_auxiliary")
    assert total == pytest.approx([m + a for m, a in zip(mce, auxiliary, strict=True)], rel=1e-6)
    assert min(auxiliary) > 0


def test_state_of_the_algorithm_is_scalars_that_load_with_weights_only(tmp_path):
    run = train(TokenSuperposition(duration="0.5dur"), BagRows(6, SWITCH), num_batches=6)
    (state,) = [algorithm.state_dict() for algorithm in run.trainer.state.algorithms]
    torch.save(state, tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == {
        "bag_size": BAG_SIZE,
        "switch_batch": SWITCH,
        "duration": "0.5dur",
        "weighting": "uniform",
        "mode": "full",
        "alternative": None,
        "recovery_rows": None,
        "repr": repr(TokenSuperposition(duration="0.5dur")),
    }


def test_second_fit_on_a_longer_run_does_not_superpose_again():
    run = train(TokenSuperposition(duration="0.5dur"), BagRows(20, SWITCH), num_batches=6)
    run.trainer.fit(duration="6ba")
    assert run.logged("superposition/phase") == [1] * 3 + [2] * 9


def test_functional_forms_import_neither_composer_nor_transformers():
    code = (
        "import sys, composer_algo as c; c.multi_hot_cross_entropy; c.fold_bags; "
        "assert not {'composer', 'transformers'} & set(sys.modules); c.TokenSuperposition; "
        "assert 'composer' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
