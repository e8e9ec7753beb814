"""What TokenSuperposition refuses before it trains wrongly, and what it warns of."""

from collections.abc import Mapping

import pytest
import torch
import transformers
from composer.core import Time
from composer.models import ComposerClassifier, HuggingFaceModel
from tiny_models import BAG_SIZE, SEQ_LEN, VOCABULARY, make_hf_model, make_model
from tiny_runs import BagRows, Rows, load, train

import tstdata
from composer_algo import TokenSuperposition
from composer_algo.adapter import adapter_for

SWITCH = 3


def refused(said, algorithm, data, **changes):
    with pytest.raises(ValueError, match=said):
        train(algorithm, data, **changes)


# --- arguments ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mode": "both"}, r"'both'.*full, input_only, output_only"),
        ({"weighting": "linear"}, r"'linear'.*uniform"),
        ({"bag_size": 0}, "bag_size is 0"),
        ({"bag_size": 3, "weighting": [1, 2]}, r"\[1, 2\] has 2 numbers; bag_size 3"),
        ({"weighting": [1, -2]}, r"has -2 at place 1"),
        ({"alternative": "hinge"}, r"'hinge'.*sum_to_one"),
        ({"recovery_rows": "cut"}, r"'cut'.*split, keep"),
        ({"fused_loss": "never"}, r"'never'.*always"),
        ({"duration": 6000}, r"6000.*time string"),
        ({"duration": "soon"}, r"'soon'.*time string"),
        ({"mode": "output_only"}, r"output_only.*bag_size None.*duration None"),
        ({"mode": "output_only", "bag_size": 4}, r"duration None"),
    ],
)
def test_argument_out_of_range_is_refused_at_once(arguments, said):
    with pytest.raises(ValueError, match=said):
        TokenSuperposition(**arguments)


def test_composer_time_is_a_duration_too():
    assert TokenSuperposition(4, Time(3, "ba")).settings.duration == "3ba"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mode": "input_only", "weighting": "power_law"}, r"'power_law' has no effect.*one token"),
        ({"alternative": "sum_to_one", "weighting": [2, 1]}, r"\(2, 1\) has no effect: sum_to_one"),
        (
            {"mode": "output_only", "bag_size": 2, "duration": "1ba", "recovery_rows": "split"},
            r"'split' has no effect: output_only",
        ),
    ],
)
def test_argument_that_has_no_effect_is_warned_of(arguments, said):
    with pytest.warns(UserWarning, match=said):
        TokenSuperposition(**arguments)


def test_weights_of_another_number_than_the_datasets_bag_size_are_refused_when_training_starts():
    refused(r"has 2 numbers; bag_size 4", TokenSuperposition(weighting=[1, 2]), BagRows(4, SWITCH))


# --- models ------------------------------------------------------------------------------------------------


def wrap(hf_model, **changes):
    return HuggingFaceModel(hf_model, tokenizer=None, use_logits=True, metrics=[], **changes)


def test_model_that_is_no_hugging_face_model_is_refused():
    model = ComposerClassifier(torch.nn.Linear(2, 2), num_classes=2)
    refused("no adapter for .*ComposerClassifier", TokenSuperposition(), BagRows(2, 1), model=model)


def test_encoder_decoder_is_refused():
    config = transformers.T5Config(
        vocab_size=VOCABULARY, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2
    )
    model = wrap(transformers.T5ForConditionalGeneration(config))
    refused("encoder-decoder", TokenSuperposition(), BagRows(2, 1), model=model)


def test_peft_model_is_refused():
    model = make_model()
    model.using_peft = True
    refused("PEFT", TokenSuperposition(), BagRows(2, 1), model=model)


def test_labels_shifted_by_the_data_are_refused():
    model = wrap(make_hf_model(), shift_labels=False)
    refused("shift_labels=False", TokenSuperposition(), BagRows(2, 1), model=model)


def test_model_without_an_embedding_table_is_refused():
    model = make_model()
    model.model.get_input_embeddings = lambda: torch.nn.Linear(2, 2)
    refused("no embedding table", TokenSuperposition(), BagRows(2, 1), model=model)


def test_model_that_takes_no_embeddings_is_refused_unless_tokens_go_in():
    model = make_model()
    native = model.model.forward
    model.model.forward = lambda input_ids, labels=None: native(input_ids=input_ids, labels=labels)
    refused("inputs_embeds.*output_only", TokenSuperposition(), BagRows(2, 1), model=model)
    assert adapter_for(model, folds_inputs=False).vocab_size == VOCABULARY


# --- data --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["full", "input_only"])
def test_ordinary_data_are_refused_where_bags_go_in(mode):
    algorithm = TokenSuperposition(BAG_SIZE, "3ba", mode=mode)
    refused(rf"'{mode}'.*Rows, serves no bag rows.*bag_shards", algorithm, Rows(4))


def test_bag_size_and_switch_unlike_the_datasets_are_refused_when_training_starts():
    refused("bag_size 8 .* bag_size 4", TokenSuperposition(8), BagRows(4, SWITCH))
    refused("batch 2 .* batch 3", TokenSuperposition(duration="2ba"), BagRows(4, SWITCH))
    refused("batch 2 .* batch 3", TokenSuperposition(duration="0.5dur"), BagRows(4, SWITCH), num_batches=4)


def test_ids_beyond_the_models_vocabulary_are_refused():
    data = BagRows(4, SWITCH)
    data.ids[5, 7] = VOCABULARY
    data.ids[0, 1] = VOCABULARY + 3
    refused(rf"0\.\.{VOCABULARY + 3}; .*0\.\.{VOCABULARY - 1}", TokenSuperposition(), data)


def test_refusal_of_the_dataset_stops_the_run():
    data = BagRows(4, SWITCH)

    def attach(**said):
        raise ValueError(f"this tokenizer is not mine: {sorted(said)}")

    data.attach_superposition = attach
    said = r"not mine: \['bag_size', 'superposition_batches', 'tokenizer', 'vocab_size'\]"
    refused(said, TokenSuperposition(), data)


@pytest.mark.parametrize(
    ("served", "said"),
    [
        (SWITCH - 1, rf"rows of {SEQ_LEN} tokens in phase 1, where rows have {SEQ_LEN * BAG_SIZE}"),
        (SWITCH + 1, rf"rows of {SEQ_LEN * BAG_SIZE} tokens in phase 2, where rows have {SEQ_LEN}"),
    ],
)
def test_data_that_switch_at_another_batch_than_they_say_are_refused(served, said):
    refused(said, TokenSuperposition(), BagRows(6, SWITCH, served=served))


def without_labels(rows: list[torch.Tensor]) -> Mapping[str, torch.Tensor]:
    return {"input_ids": torch.stack(rows)}


def test_batches_without_labels_are_refused():
    data = load(BagRows(4, SWITCH), collate_fn=without_labels)
    refused("also needs the tensor labels", TokenSuperposition(), data)


@pytest.fixture
def shards(small_dataset):
    dataset = {"local": str(small_dataset), "bag_size": BAG_SIZE, "superposition_batches": SWITCH}
    return tstdata.build_bag_dataloader(dataset, device_batch_size=4)


def test_bag_shards_of_a_larger_vocabulary_are_refused_when_training_starts(shards):
    refused("1024.*61|61.*1024", TokenSuperposition(), shards)


def test_tokenizer_unlike_the_shards_card_is_refused_when_training_starts(shards, tokenizer_dir):
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_dir)
    tokenizer.add_tokens(["<|another|>"])
    model = wrap(make_hf_model(vocab_size=len(tokenizer)))
    model.tokenizer = tokenizer
    refused("tokenizer", TokenSuperposition(), shards, model=model)


# --- what is only warned of --------------------------------------------------------------------------------


def test_share_of_a_run_in_tokens_is_said_loudly():
    tokens = 2 * 4 * SEQ_LEN * BAG_SIZE + 8 * 4 * SEQ_LEN
    algorithm, data = TokenSuperposition(duration="0.5dur"), BagRows(20, 2)
    with pytest.warns(UserWarning, match=r"50.0% of the TOKENS but only 20.0% of the optimizer steps"):
        run = train(algorithm, data, max_duration=f"{tokens}tok", num_batches=0)
    assert run.logged("superposition/phase") == [1] * 2 + [2] * 8


def test_first_loss_far_from_log_vocabulary_is_warned_of():
    model = make_model()
    model.model.lm_head.weight.data.mul_(40)
    with pytest.warns(UserWarning, match=r"first superposition/mce .*log\(V\) = 4.111"):
        train(TokenSuperposition(), BagRows(2, 1), num_batches=1, model=model)


def test_pretrained_weights_are_not_held_to_log_vocabulary():
    model = make_model()
    model.model.lm_head.weight.data.mul_(40)
    model.config._name_or_path = "some/model"
    train(TokenSuperposition(), BagRows(2, 1), num_batches=1, model=model)
