"""Laws of superposition in real LLM Foundry runs, built from YAML by its own `train`."""

import math

import pytest
import torch
from conftest import BAG_SIZE, NUM_BATCHES, SEQ_LEN, SWITCH, VOCABULARY
from llmfoundry import registry
from llmfoundry.command_utils import train
from llmfoundry.models.mpt import ComposerMPTCausalLM
from omegaconf import OmegaConf

from composer_algo.algorithm import adapter_for
from composer_algo.batch import superpose_batch
from composer_algo.objective import Objective
from composer_algo.settings import Settings
from composer_algo.superposed_model import SuperposedModel

MPT = {
    "name": "mpt_causal_lm",
    "d_model": 32,
    "n_heads": 2,
    "n_layers": 2,
    "expansion_ratio": 2,
    "max_seq_len": SEQ_LEN,
    "vocab_size": VOCABULARY,
    "loss_fn": "torch_crossentropy",
    "attn_config": {"attn_impl": "torch"},
    "init_config": {"name": "baseline_", "init_std": 0.02},
}
# Ten times what two orders of the same sums were measured to differ by.
ROUNDING = 2e-6
ALIBI = {"learned_pos_emb": False, "attn_config": {"attn_impl": "torch", "alibi": True}}
ROPE = {
    "learned_pos_emb": False,
    "attn_config": {"attn_impl": "torch", "rope": True, "rope_impl": "hf", "rope_theta": 10000},
}
MODELS = {
    "tied, learned positions": {},
    "untied, learned positions": {"tie_word_embeddings": False},
    "tied, ALiBi": ALIBI,
    "untied, ALiBi": {"tie_word_embeddings": False, **ALIBI},
    "tied, RoPE": ROPE,
    "scaled and capped logits": {"logit_scale": 0.5, "final_logit_softcapping": 0.5},
}


@pytest.fixture
def run(bags, tokenizer_dir):
    """Train from settings as a YAML has them; returns LLM Foundry's Trainer."""

    def run(model=None, algorithm=None, dataset=None, **changes):
        bag_rows = {"local": str(bags), "shuffle": True, "num_canonical_nodes": 1, "bag_size": BAG_SIZE}
        settings = {
            "seed": 17,
            "max_seq_len": SEQ_LEN,
            "max_duration": f"{NUM_BATCHES}ba",
            "eval_interval": 0,
            "global_train_batch_size": 4,
            "device_train_microbatch_size": 4,
            "device_eval_batch_size": 4,
            "precision": "fp32",
            "progress_bar": False,
            "tokenizer": {"name": str(tokenizer_dir)},
            "model": model if model and "name" in model else {**MPT, **(model or {})},
            "optimizer": {"name": "decoupled_adamw", "lr": 1e-2, "betas": [0.9, 0.95]},
            "scheduler": {"name": "constant_with_warmup", "t_warmup": "0ba"},
            "train_loader": {
                "name": "bag_shards",
                "dataset": {**bag_rows, "superposition_batches": SWITCH, **(dataset or {})},
                "drop_last": True,
                "num_workers": 0,
            },
            "algorithms": {"token_superposition": algorithm or {}},
            "loggers": {"inmemory": {}},
            "python_log_level": None,
            **changes,
        }
        trainers.append(train(OmegaConf.create(settings)))
        return trainers[-1]

    trainers = []
    yield run
    for trainer in trainers:
        trainer.close()


def logged(trainer, name):
    (logger,) = [
        destination
        for destination in trainer.logger.destinations
        if type(destination).__name__ == "InMemoryLogger"
    ]
    return [float(value) for _, value in logger.data.get(name, [])]


def losses(trainer):
    return logged(trainer, "loss/train/total")


def test_llmfoundry_finds_algorithm_and_loader_by_their_entry_points():
    assert registry.algorithms.get("token_superposition").__module__ == "composer_algo.algorithm"
    assert registry.dataloaders.get("bag_shards").__module__ == "tstdata.dataloader"


@pytest.mark.parametrize("kind", MODELS)
def test_mpt_superposes_until_the_switch_and_starts_at_log_vocabulary(run, kind):
    trainer = run(MODELS[kind])
    assert logged(trainer, "superposition/phase") == [1] * SWITCH + [2] * (NUM_BATCHES - SWITCH)
    assert logged(trainer, "superposition/mce") == losses(trainer)[:SWITCH]
    assert losses(trainer)[0] == pytest.approx(math.log(VOCABULARY), rel=0.05)
    names = list(trainer.state.model.state_dict())
    assert ("model.lm_head.weight" in names) == kind.startswith("untied")


@pytest.mark.parametrize("kind", MODELS)
def test_loss_in_the_place_of_mpts_head_is_that_of_its_logits(run, kind):
    fused, plain = (losses(run(MODELS[kind], {"fused_loss": value})) for value in (True, False))
    assert fused == pytest.approx(plain, rel=ROUNDING)


@pytest.mark.parametrize("kind", MODELS)
def test_bags_enter_mpt_as_their_averaged_embeddings_bit_for_bit(run, kind):
    trainer = run(MODELS[kind], {"fused_loss": False})
    model = trainer.state.model.eval()
    bags = torch.randint(0, VOCABULARY, (2, SEQ_LEN, BAG_SIZE), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits = model({"input_ids": bags}).logits
        embeddings = model.model.transformer.wte(bags).float().mean(dim=2)
        reference = model.model(inputs_embeds=embeddings).logits
        ordinary = model({"input_ids": bags[..., 0]}).logits
        native = model.model(input_ids=bags[..., 0]).logits
    assert torch.equal(logits, reference)
    assert torch.equal(ordinary, native)


def test_after_the_switch_the_run_is_bit_identical_to_one_without_the_algorithm(run, tmp_path):
    whole = run(save_folder=str(tmp_path), save_interval=f"{SWITCH}ba", save_filename="ba{batch}.pt")
    resumed = run(algorithms={}, load_path=str(tmp_path / f"ba{SWITCH}.pt"))
    assert losses(resumed) == losses(whole)[SWITCH:]


def test_resuming_without_the_algorithm_or_with_another_bag_size_is_refused(run, tmp_path):
    run(save_folder=str(tmp_path), save_interval="1ba", save_filename="ba{batch}.pt")
    inside = str(tmp_path / "ba1.pt")
    with pytest.raises(Exception, match="no TokenSuperposition has attached"):
        run(algorithms={}, load_path=inside)
    ignored = {"load_ignore_keys": ["state/dataset_state"]}
    with pytest.raises(ValueError, match=r"bag_size 4 .* bag_size 2"):
        run(dataset={"bag_size": 2}, load_path=inside, **ignored)


@pytest.mark.parametrize("tied", [True, False])
def test_hugging_face_model_from_a_config_trains_the_same_way(run, tied, tmp_path):
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=tied,
    )
    config.save_pretrained(tmp_path)
    name = {"name": "hf_causal_lm", "pretrained_model_name_or_path": str(tmp_path), "pretrained": False}
    trainer = run(name)
    assert logged(trainer, "superposition/phase") == [1] * SWITCH + [2] * (NUM_BATCHES - SWITCH)
    assert losses(trainer)[0] == pytest.approx(math.log(VOCABULARY), rel=0.05)


def test_microbatches_accumulated_on_tokens_give_the_same_losses(run):
    on_tokens = {"accumulate_train_batch_on_tokens": True}
    split, whole = (losses(run(device_train_microbatch_size=size, **on_tokens)) for size in (1, 4))
    assert split == pytest.approx(whole, rel=ROUNDING)


def test_packed_documents_stay_apart_by_their_sequence_id():
    arguments = {key: value for key, value in MPT.items() if key != "name"}
    attention = {"attn_impl": "torch", "attn_uses_sequence_id": True}
    model = ComposerMPTCausalLM(**{**arguments, "attn_config": attention}).eval()
    adapter = adapter_for(model, folds_inputs=True)
    SuperposedModel(adapter, Objective(Settings()), folds_inputs=True, fused=False)
    ids = torch.randint(0, VOCABULARY, (1, SEQ_LEN * BAG_SIZE), generator=torch.Generator().manual_seed(3))
    sequence_id = torch.zeros_like(ids)
    sequence_id[:, SEQ_LEN * BAG_SIZE // 2 :] = 1
    other = ids.clone()
    other[:, :BAG_SIZE] = (other[:, :BAG_SIZE] + 1) % VOCABULARY
    logits = []
    for tokens in (ids, other):
        batch = {"input_ids": tokens, "labels": tokens, "sequence_id": sequence_id}
        with torch.no_grad():
            logits.append(model(superpose_batch(batch, BAG_SIZE, "full")).logits)
    assert torch.equal(logits[0][:, SEQ_LEN // 2 :], logits[1][:, SEQ_LEN // 2 :])
    assert not torch.equal(logits[0][:, : SEQ_LEN // 2], logits[1][:, : SEQ_LEN // 2])


def test_megablocks_are_refused(run):
    model = run(max_duration="1ba").state.model
    model.model.config.ffn_config["ffn_type"] = "mb_dmoe"
    with pytest.raises(ValueError, match=r"mb_dmoe.*load-balancing"):
        adapter_for(model, folds_inputs=True)
