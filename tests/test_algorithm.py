"""Laws of TokenSuperposition inside a Composer run."""

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from composer.loggers import LoggerDestination
from tiny_runs import (
    BAG_SIZE,
    FAMILIES,
    GLOBAL_BATCH,
    SEQ_LEN,
    VOCABULARY,
    BagRows,
    Rows,
    load,
    make_hf_model,
    make_model,
    train,
)

from composer_algo import WEIGHTINGS, TokenSuperposition, bag_weights, multi_hot_cross_entropy
from composer_algo.adapter import adapter_for
from composer_algo.batch import TARGETS, superpose_batch

SWITCH = 3


def adapted(family="llama", weighting="uniform", **changes):
    model = make_model(family, **changes)
    adapter_for(model, folds_inputs=True).install(
        lambda logits, targets: multi_hot_cross_entropy(
            logits, targets, bag_weights(weighting, targets.shape[-1])
        )
    )
    return model


def superposed_batch(mode="full", bag_size=BAG_SIZE):
    length = SEQ_LEN * (1 if mode == "output_only" else bag_size)
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, VOCABULARY, (2, length), generator=generator)
    batch = superpose_batch({"input_ids": ids, "labels": ids.clone()}, bag_size, mode)
    return {key: value for key, value in batch.items() if key != "labels"}


def same_weights(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


# --- the model ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_bags_enter_the_model_as_their_averaged_embeddings_bit_for_bit(family):
    batch = superposed_batch()
    with torch.no_grad():
        logits = adapted(family).eval()(batch)["logits"]
        plain = make_hf_model(family).eval()
        embeddings = plain.get_input_embeddings()(batch["input_ids"])
        reference = plain(inputs_embeds=embeddings.float().mean(dim=2)).logits
    assert torch.equal(logits, reference)


@pytest.mark.parametrize("family", FAMILIES)
def test_ordinary_batch_takes_the_native_path_bit_for_bit(family):
    ids = torch.randint(0, VOCABULARY, (2, SEQ_LEN), generator=torch.Generator().manual_seed(3))
    batch = {"input_ids": ids, "labels": ids.clone()}
    losses = []
    for model in (adapted(family), make_model(family)):
        loss = model.loss(model(batch), batch)
        loss.backward()
        losses.append((loss, model))
    assert torch.equal(losses[0][0], losses[1][0])
    for ours, native in zip(losses[0][1].parameters(), losses[1][1].parameters(), strict=True):
        assert torch.equal(ours.grad, native.grad)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_target_lies_in_its_own_input(family):
    model, batch = adapted(family).eval(), superposed_batch()
    changed = 5
    other = batch["input_ids"].clone()
    other[:, changed:] = (other[:, changed:] + 1) % VOCABULARY
    with torch.no_grad():
        before = model(batch)["logits"]
        after = model({"input_ids": other})["logits"]
    # Not bit for bit: the experts of a mixture multiply other groups of tokens, and round otherwise.
    assert torch.allclose(before[:, :changed], after[:, :changed], rtol=1e-5, atol=1e-6)
    assert (before[:, changed] - after[:, changed]).abs().amax() > 1e-3
    # Bag j predicts bag j + 1, so what was changed is what the unchanged logits predict.
    assert torch.equal(batch[TARGETS][:, changed - 1], batch["input_ids"][:, changed])


@pytest.mark.parametrize("mode", ["full", "input_only", "output_only"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_first_loss_of_random_weights_is_within_two_percent_of_log_vocabulary(weighting, mode):
    model, batch = adapted(weighting=weighting), superposed_batch(mode)
    loss = model.loss(model(batch), batch)["total"].item()
    assert loss == pytest.approx(math.log(VOCABULARY), rel=0.02)


@pytest.mark.parametrize("family", ["qwen3-moe", "mixtral"])
def test_router_auxiliary_loss_is_added_as_the_native_loss_adds_it(family):
    batch = superposed_batch()
    model, plain = adapted(family), make_hf_model(family)
    loss = model.loss(model(batch), batch)
    embeddings = plain.get_input_embeddings()(batch["input_ids"]).float().mean(dim=2)
    # Labels of the folded shape make the model compute its own loss: what is not cross-entropy is the rest.
    labels = batch[TARGETS][..., 0].roll(1, dims=1)
    outputs = plain(inputs_embeds=embeddings, labels=labels)
    silent = make_hf_model(family, output_router_logits=False)(inputs_embeds=embeddings, labels=labels)
    assert torch.equal(silent.loss + loss["router_auxiliary"], outputs.loss)
    assert torch.equal(loss["total"], loss["mce"] + loss["router_auxiliary"])
    assert loss["router_auxiliary"] > 0
    expected = multi_hot_cross_entropy(outputs.logits, batch[TARGETS])
    assert torch.equal(loss["mce"], expected)


def test_router_auxiliary_loss_stays_away_when_the_config_does_not_ask_for_it():
    model, batch = adapted("qwen3-moe", output_router_logits=False), superposed_batch()
    assert set(model.loss(model(batch), batch)) == {"total", "mce"}


def test_weights_have_the_same_names_with_and_without_the_adapter():
    assert list(adapted().state_dict()) == list(make_model().state_dict())


def test_logits_that_fit_no_latent_position_are_refused():
    model, batch = adapted(), superposed_batch()
    logits = torch.zeros(2, SEQ_LEN - 1, VOCABULARY)
    with pytest.raises(ValueError, match=r"\[2, 15, 61\] for 2 rows of 16 latent positions"):
        model.loss({"logits": logits}, batch)


# --- the batch ---------------------------------------------------------------------------------------------


def test_input_only_predicts_the_token_after_each_bag():
    ids = torch.arange(12)[None]
    batch = superpose_batch({"input_ids": ids, "labels": ids}, 4, "input_only")
    assert batch["input_ids"].tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]]
    assert batch[TARGETS].tolist() == [[[4], [8], [-100]]]


def test_output_only_keeps_the_tokens_and_predicts_those_after_each():
    ids = torch.arange(4)[None]
    batch = superpose_batch({"input_ids": ids, "labels": ids}, 2, "output_only")
    assert torch.equal(batch["input_ids"], ids)
    assert batch[TARGETS].tolist() == [[[1, 2], [2, 3], [3, -100], [-100, -100]]]


@pytest.mark.parametrize("mode", ["full", "input_only", "output_only"])
def test_every_tensor_of_a_superposed_batch_has_one_entry_for_each_row(mode):
    ids = torch.zeros(3, 8, dtype=torch.int64)
    batch = {"input_ids": ids, "labels": ids.clone(), "attention_mask": torch.ones_like(ids)}
    assert all(value.shape[0] == 3 for value in superpose_batch(batch, 4, mode).values())


def test_attention_mask_is_folded_with_the_ids():
    ids = torch.zeros(1, 8, dtype=torch.int64)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0]])
    batch = superpose_batch({"input_ids": ids, "labels": ids, "attention_mask": mask}, 4, "full")
    assert batch["attention_mask"].tolist() == [[1, 0]]


def test_superposing_leaves_the_batch_that_came_in_as_it_was():
    ids = torch.zeros(1, 8, dtype=torch.int64)
    batch = {"input_ids": ids, "labels": ids.clone()}
    superpose_batch(batch, 4, "full")
    assert set(batch) == {"input_ids", "labels"}
    assert batch["input_ids"] is ids


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ([torch.zeros(1, 8)], "list.*mapping"),
        ({"input_ids": torch.zeros(1, 8).long()}, r"\['input_ids'\].*labels"),
        ({"input_ids": torch.zeros(1, 8).long(), "labels": torch.zeros(1, 7).long()}, r"\[1, 7\].*\[1, 8\]"),
        (
            {key: torch.zeros(1, 8).long() for key in ("input_ids", "labels", "position_ids")},
            "position_ids.*no rule",
        ),
    ],
)
def test_batch_that_cannot_be_superposed_is_refused(batch, said):
    with pytest.raises(ValueError, match=said):
        superpose_batch(batch, 4, "full")


# --- the run -----------------------------------------------------------------------------------------------


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
    assert hyperparameters == {"bag_size": BAG_SIZE, "switch_batch": SWITCH, **settings}


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
        "repr": "TokenSuperposition(bag_size=None, duration='0.5dur', weighting='uniform', mode='full')",
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
