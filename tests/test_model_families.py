"""Laws of every family: bags enter as averaged embeddings, ordinary batches as if nothing had happened."""

import math

import pytest
import torch
from tiny_models import BAG_SIZE, SEQ_LEN, TIED_AND_UNTIED, VOCABULARY, make_hf_model, make_model

from composer_algo import WEIGHTINGS, multi_hot_cross_entropy
from composer_algo.algorithm import adapter_for
from composer_algo.batch import TARGETS, superpose_batch
from composer_algo.loss import readable_sum_to_one_cross_entropy
from composer_algo.objective import Objective
from composer_algo.settings import Settings
from composer_algo.superposed_model import SuperposedModel

MIXTURES = ("qwen3-moe", "mixtral")


def adapted(family="llama", *, fused=False, settings=None, **changes):
    model = make_model(family, **changes)
    objective = Objective(settings or Settings())
    SuperposedModel(adapter_for(model, folds_inputs=True), objective, folds_inputs=True, fused=fused)
    return model


def superposed_batch(mode="full", bag_size=BAG_SIZE):
    length = SEQ_LEN * (1 if mode == "output_only" else bag_size)
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, VOCABULARY, (2, length), generator=generator)
    batch = superpose_batch({"input_ids": ids, "labels": ids.clone()}, bag_size, mode)
    return {key: value for key, value in batch.items() if key != "labels"}


@pytest.mark.parametrize("family", TIED_AND_UNTIED)
def test_bags_enter_the_model_as_their_averaged_embeddings_bit_for_bit(family):
    batch = superposed_batch()
    with torch.no_grad():
        logits = adapted(family).eval()(batch)["logits"]
        plain = make_hf_model(family).eval()
        embeddings = plain.get_input_embeddings()(batch["input_ids"])
        reference = plain(inputs_embeds=embeddings.float().mean(dim=2)).logits
    assert torch.equal(logits, reference)


@pytest.mark.parametrize("family", TIED_AND_UNTIED)
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


@pytest.mark.parametrize("family", TIED_AND_UNTIED)
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
    assert (before[:, changed] - after[:, changed]).abs().amax() > 1e-4
    # Bag j predicts bag j + 1, so what was changed is what the unchanged logits predict.
    assert torch.equal(batch[TARGETS][:, changed - 1], batch["input_ids"][:, changed])


def test_packed_documents_stay_apart_in_bags_by_their_position_ids():
    document = SEQ_LEN // 2 * BAG_SIZE
    ids = torch.randint(0, VOCABULARY, (1, 2 * document), generator=torch.Generator().manual_seed(3))
    places = torch.arange(document).repeat(2)[None]
    other = ids.clone()
    other[:, :BAG_SIZE] = (other[:, :BAG_SIZE] + 1) % VOCABULARY
    # transformers reads documents out of positions only where it keeps no cache.
    model, logits = adapted(use_cache=False).eval(), []
    for tokens in (ids, other):
        batch = superpose_batch(
            {"input_ids": tokens, "labels": tokens, "position_ids": places}, BAG_SIZE, "full"
        )
        with torch.no_grad():
            logits.append(model({k: v for k, v in batch.items() if k != "labels"})["logits"])
    assert torch.equal(logits[0][:, SEQ_LEN // 2 :], logits[1][:, SEQ_LEN // 2 :])
    assert not torch.equal(logits[0][:, : SEQ_LEN // 2], logits[1][:, : SEQ_LEN // 2])


@pytest.mark.parametrize("mode", ["full", "input_only", "output_only"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_first_loss_of_random_weights_is_within_two_percent_of_log_vocabulary(weighting, mode):
    model, batch = adapted(settings=Settings(weighting=weighting)), superposed_batch(mode)
    loss = model.loss(model(batch), batch)["total"].item()
    assert loss == pytest.approx(math.log(VOCABULARY), rel=0.02)


def test_sum_to_one_is_minimised_where_it_is_asked_for():
    batch = superposed_batch()
    model = adapted(settings=Settings(alternative="sum_to_one"), fused=True)
    outputs = model(batch)
    expected = readable_sum_to_one_cross_entropy(outputs["logits"], batch[TARGETS])
    assert model.loss(outputs, batch)["total"].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("family", MIXTURES)
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


@pytest.mark.parametrize("family", TIED_AND_UNTIED)
def test_tied_models_share_one_weight_and_untied_ones_have_two(family):
    model = make_hf_model(family)
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert (embedding is head) == family.endswith("-tied")


@pytest.mark.parametrize("fused", [True, False])
def test_z_loss_of_the_model_is_added_as_its_own_forward_adds_it(fused):
    batch, factor = superposed_batch(), 0.05
    model, plain = adapted("bamba", fused=fused), make_hf_model("bamba")
    loss = model.loss(model(batch), batch)["total"]
    embeddings = plain.get_input_embeddings()(batch["input_ids"]).float().mean(dim=2)
    logits = plain(inputs_embeds=embeddings).logits[:, :-1]
    expected = multi_hot_cross_entropy(logits, batch[TARGETS][:, :-1])
    # Over the positions that have targets; the model's own also asks it of the last one, which has none.
    expected = expected + factor * logits.logsumexp(dim=-1).square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_z_loss_is_refused_beside_a_loss_that_has_no_place_for_it():
    with pytest.raises(ValueError, match=r"z-loss of 0.05.*'sum_to_one'.*z_loss_coefficient to 0"):
        adapted("bamba", settings=Settings(alternative="sum_to_one"))


def test_weights_have_the_same_names_with_and_without_the_adapter():
    assert list(adapted().state_dict()) == list(make_model().state_dict())


@pytest.mark.parametrize("family", TIED_AND_UNTIED)
def test_loss_in_the_place_of_the_head_is_that_of_the_logits(family):
    batch, results = superposed_batch(), []
    for fused in (True, False):
        model = adapted(family, fused=fused)
        outputs = model(batch)
        loss = model.loss(outputs, batch)
        loss["total"].backward()
        results.append((outputs, loss, {name: p.grad for name, p in model.named_parameters()}))
    (outputs, loss, grads), (plain_outputs, plain_loss, plain_grads) = results
    assert outputs.logits.shape == (2, SEQ_LEN, 0)
    assert plain_outputs.logits.shape == (2, SEQ_LEN, VOCABULARY)
    for name, value in plain_loss.items():
        assert loss[name].item() == pytest.approx(value.item(), rel=1e-6)
    for name, grad in plain_grads.items():
        assert torch.allclose(grads[name], grad, rtol=1e-4, atol=1e-6), name


def test_logits_that_fit_no_latent_position_are_refused():
    model, batch = adapted(), superposed_batch()
    logits = torch.zeros(2, SEQ_LEN - 1, VOCABULARY)
    with pytest.raises(ValueError, match=r"\[2, 15, 61\] for 2 rows of 16 latent positions and 61 ids"):
        model.loss({"logits": logits}, batch)
