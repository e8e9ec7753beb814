"""FLOPs of a step against torch's own counter, in both phases, and parameters against built models."""

import pytest
import torch
from tiny_models import CONFIGS, make_hf_model
from torch.utils.flop_counter import FlopCounterMode

from composer_algo import fold_bags, multi_hot_cross_entropy, next_bag_targets, superpose
from tstruns.flops import averaging_additions, flops_per_step, gpu_hours
from tstruns.gpus import PEAK_BF16_FLOPS, peak_bf16_flops
from tstruns.measured_shape import measured_shape
from tstruns.shapes import shape_of

ROWS, SEQ_LEN, BAG_SIZE = 3, 12, 4


def counted(model, bag_size: int) -> int:
    """What torch counts in one forward and backward pass of a phase, without the table of rotary angles."""
    ids = torch.randint(0, model.config.vocab_size, (ROWS, SEQ_LEN * bag_size))
    with FlopCounterMode(display=False, depth=None) as counter:
        if bag_size == 1:
            loss = model(input_ids=ids, labels=ids).loss
        else:
            embeddings = superpose(model.get_input_embeddings()(fold_bags(ids, bag_size)))
            logits = model(inputs_embeds=embeddings).logits
            loss = multi_hot_cross_entropy(logits, next_bag_targets(ids, bag_size))
        loss.backward()
    # Positions times frequencies, an outer product: no multiplication with weights, and none between tokens.
    rotary = [counts for name, counts in counter.get_flop_counts().items() if name.endswith("rotary_emb")]
    return counter.get_total_flops() - sum(sum(counts.values()) for counts in rotary)


@pytest.mark.parametrize("bag_size", [1, BAG_SIZE], ids=["recovery", "superposition"])
@pytest.mark.parametrize(
    "family", ["llama", "llama-tied", "qwen3", "qwen3-moe", "mixtral", "gpt2", "gpt-neox"]
)
def test_the_formula_is_what_torch_counts_in_either_phase(family, bag_size):
    model = make_hf_model(family, attn_implementation="eager")
    shape = shape_of(CONFIGS[family])
    said = flops_per_step(shape, rows=ROWS, data_len=SEQ_LEN * bag_size, bag_size=bag_size)
    assert counted(model, bag_size) == said


def test_a_step_costs_the_same_in_both_phases():
    shape = shape_of(CONFIGS["qwen3-moe"])
    costs = {flops_per_step(shape, rows=8, data_len=64 * s, bag_size=s) for s in (1, 2, 6, 16)}
    assert len(costs) == 1


def test_averaging_adds_one_vector_a_token_forward_and_backward():
    shape = shape_of(CONFIGS["llama"])
    assert averaging_additions(shape, 1) == 0
    assert averaging_additions(shape, 6) == 2 * 6 * 32


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "llama"},
        {"model_type": "llama", "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
        {"model_type": "llama", "head_dim": 24},
        {"model_type": "mistral"},
        {"model_type": "qwen3", "head_dim": 24, "attention_bias": True},
        {"model_type": "qwen3_moe", "head_dim": 24},
        {
            "model_type": "qwen3_moe",
            "decoder_sparse_step": 2,
            "mlp_only_layers": [1],
            "tie_word_embeddings": True,
        },
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_the_hand_written_count_is_the_built_models(changes):
    config = {
        "vocab_size": 97,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": False,
        **changes,
    }
    if changes["model_type"] == "qwen3_moe":
        config |= {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 20}
    assert shape_of(config) == measured_shape(config)


def test_any_other_decoder_is_built_and_counted():
    shape = shape_of(CONFIGS["gpt2"])
    assert shape.total_params == sum(weight.numel() for weight in make_hf_model("gpt2").parameters())
    assert shape.is_tied
    # Of each layer's 12 * 32 * 32 weights and the tied head, none is a lookup; the position table is one.
    assert shape.matmul_params == 2 * 12 * 32 * 32 + 61 * 32


def test_active_parameters_are_all_but_the_experts_not_visited():
    shape = shape_of(CONFIGS["qwen3-moe"])
    expert = 3 * 32 * 24
    assert shape.total_params - shape.active_params == 2 * (4 - 2) * expert
    assert shape.active_non_embedding_params == shape.active_params - 61 * 32 * (1 if shape.is_tied else 2)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"hidden_size": 8}, ["no model_type", "hidden_size"]),
        ({"model_type": "lama"}, ["lama", "config.json of a decoder"]),
        ({"model_type": "t5"}, ["cannot build"]),
        ({"model_type": "gpt_oss", "num_hidden_layers": 1}, ["several matrices in one weight", "qwen3_moe"]),
    ],
)
def test_a_model_that_cannot_be_counted_is_refused(config, words):
    with pytest.raises(ValueError, match=words[0]) as refusal:
        shape_of(config)
    assert all(word in str(refusal.value) for word in words)


def test_hours_are_flops_over_the_reached_share_of_peak():
    assert gpu_hours(3600 * 400e12, 1000e12, 0.4) == pytest.approx(1.0)


def test_a_gpu_is_found_in_any_case_and_else_the_nearest_is_named():
    assert peak_bf16_flops("b200") == PEAK_BF16_FLOPS["B200"]
    with pytest.raises(ValueError, match="Did you mean --gpu H100"):
        peak_bf16_flops("H10")
