"""The paper's recipes: shapes counted by hand, schedules as published, a shrunken twin of each trained."""

import json
import math

import pytest
import torch
from omegaconf import OmegaConf
from tst_tools import cli

from tstdata import DatasetCard
from tstruns import read_config
from tstruns.paper_results import STEP_TOKENS, TOTAL_PARAMS, main_results
from tstruns.plan_model import plan_model
from tstruns.recipe import load_layers, recipe_names
from tstruns.shapes import shape_of

# The paper's name for each shape, and the recipes of whole runs in that shape.
SHAPES = {"270m": "270M", "600m": "600M", "3b": "3B", "10b-a1b": "10B-A1B"}
RUNS = [name for name in recipe_names() if "k-" in name]
PEAK_LR = {"270M": 2e-3, "600M": 1e-3, "3B": 2e-4, "10B-A1B": 3e-4}

# Embedding and head, untied; for each layer q and o, k and v, gated feed-forward and two norms; a last norm.
HAND_COUNTED = {
    "270M": 2 * 128256 * 576 + 30 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536 + 2 * 576) + 576,
    "600M": 2 * 128256 * 960 + 32 * (2 * 960 * 960 + 2 * 960 * 320 + 3 * 960 * 2560 + 2 * 960) + 960,
    "3B": 2 * 128256 * 2048 + 36 * (2 * 2048 * 2048 + 2 * 2048 * 512 + 3 * 2048 * 11008 + 2 * 2048) + 2048,
    # Heads of 128 and their own two norms; a router, and 128 experts of which 8 are visited.
    "10B-A1B": 2 * 151936 * 1536
    + 32 * (2 * 1536 * 3072 + 2 * 1536 * 512 + 2 * 128 + 1536 * 128 + 128 * 3 * 1536 * 512 + 2 * 1536)
    + 1536,
}
NOT_VISITED = {"10B-A1B": 32 * (128 - 8) * 3 * 1536 * 512}
# What the paper rounds to: "270M" and "600M" count the untied embeddings of 135M and 360M shapes loosely.
ABOUT = {"270M": (254e6, 0.001), "600M": (561e6, 0.001), "3B": (3.3e9, 0.02), "10B-A1B": (10e9, 0.05)}

TWIN = [
    *("model.config.hidden_size=16", "model.config.intermediate_size=32", "model.config.num_hidden_layers=1"),
    *("model.config.num_attention_heads=2", "model.config.num_key_value_heads=1", "model.config.head_dim=8"),
    *(
        "model.config.vocab_size=1024",
        "variables.seq_len=32",
        "global_train_batch_size=2",
        "max_duration=6ba",
    ),
    *("scheduler.t_warmup=2ba", "device_train_microbatch_size=null", "precision=fp32", "save_interval=1dur"),
    *("train_loader.num_workers=0", "progress_bar=false"),
]
TWIN_EXPERTS = ["num_experts=4", "num_experts_per_tok=2", "moe_intermediate_size=8"]


def model_config(name: str) -> dict:
    return dict(OmegaConf.to_container(load_layers(f"recipe:{name}").model.config, resolve=True))


def shape_recipe(run: str) -> str:
    return max((shape for shape in SHAPES if run.startswith(shape)), key=len)


@pytest.mark.parametrize(("recipe", "name"), SHAPES.items())
def test_a_shape_has_the_parameters_counted_by_hand(recipe, name):
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.modeling_utils import no_init_weights

    with torch.device("meta"), no_init_weights():
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**model_config(recipe)))
    built = sum(weight.numel() for weight in model.parameters())
    shape = shape_of(model_config(recipe))
    assert built == shape.total_params == HAND_COUNTED[name] == TOTAL_PARAMS[name]
    assert shape.active_params == HAND_COUNTED[name] - NOT_VISITED.get(name, 0)
    about, tolerance = ABOUT[name]
    assert built == pytest.approx(about, rel=tolerance)


def test_about_one_billion_parameters_of_the_mixture_are_active():
    assert shape_of(model_config("10b-a1b")).active_non_embedding_params == pytest.approx(1e9, rel=0.05)


def test_every_run_of_the_main_results_has_its_recipe():
    found = {}
    for run in RUNS:
        model, extra = (
            plan_model(run),
            read_config(f"recipe:{run}", data(".")).algorithms.reinitialise_embeddings,
        )
        place = (SHAPES[shape_recipe(run)], model.superposition_batches, model.steps, model.bag_size)
        found[(*place, extra is not None)] = run
    for row in main_results():
        place = (row.params, row.superposition_steps, row.total_steps, row.bag_size)
        assert (*place, "reinit" in row.model) in found, row


@pytest.mark.parametrize("run", RUNS)
def test_a_run_has_the_papers_batch_and_schedule(run):
    config, name = read_config(f"recipe:{run}", data(".")), SHAPES[shape_recipe(run)]
    assert config.global_train_batch_size * plan_model(run).seq_len == STEP_TOKENS[name]
    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.betas) == (
        "adamw",
        PEAK_LR[name],
        [0.9, 0.95],
    )
    assert (config.scheduler.name, config.scheduler.t_warmup, config.scheduler.t_decay) == (
        "wsd",
        "2000ba",
        "0.1dur",
    )


@pytest.mark.parametrize("run", RUNS)
def test_a_run_whose_training_state_fills_a_device_is_sharded(run):
    """Weights, gradients and Adam's two moments, 4 bytes each, on devices of 80 GB with room for the rest."""
    config = read_config(f"recipe:{run}", data("."))
    sharded = 16 * TOTAL_PARAMS[SHAPES[shape_recipe(run)]] > 40e9
    assert (config.fsdp_config is not None) == sharded
    assert config.device_train_microbatch_size == (1 if sharded else "auto")


@pytest.mark.parametrize("run", [row for row in RUNS if "40k" in row and "baseline" not in row])
def test_an_ablation_is_four_tokens_a_bag_for_half_of_the_steps(run):
    model = plan_model(run)
    assert (model.bag_size, model.superposition_batches / model.steps) == (4, 0.5)
    assert (model.mode or "full") == (
        "full" if run.endswith("tst") else run.removeprefix("270m-40k-").replace("-", "_")
    )


def data(dataset: object) -> list[str]:
    return [f"run_dir={dataset}/run", f"train_loader.dataset.local={dataset}"]


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_a_shrunken_twin_trains_through_both_phases(run, small_dataset, tmp_path, capsys):
    model = plan_model(run)
    overrides = [*TWIN, f"run_dir={tmp_path / 'run'}", f"train_loader.dataset.local={small_dataset}"]
    if shape_recipe(run) == "10b-a1b":
        overrides += [f"model.config.{key}" for key in TWIN_EXPERTS]
    if model.mode == "output_only":
        overrides.append("algorithms.token_superposition.duration=3ba")
    elif model.superposition_batches:
        overrides.append("train_loader.dataset.superposition_batches=3")
    assert cli.main(["train", f"recipe:{run}", *overrides]) == 0
    summary = json.loads(capsys.readouterr().out)
    superposed = 3 if model.superposition_batches else 0
    assert (summary["steps"], summary["superposition_steps"]) == (6, superposed)
    growth = 1 if model.mode == "output_only" else model.bag_size
    assert summary["tokens"] == 2 * DatasetCard.load(small_dataset).seq_len * (
        superposed * growth + 6 - superposed
    )
    assert summary["train_loss"] == pytest.approx(math.log(1024), rel=0.1)


def test_a_layer_wins_over_what_it_extends_and_a_later_base_over_an_earlier(tmp_path):
    (tmp_path / "a.yaml").write_text("x: 1\ny: {p: 1, q: 1}\n")
    (tmp_path / "b.yaml").write_text("x: 2\ny: {q: 2}\n")
    (tmp_path / "c.yaml").write_text("extends: [a.yaml, b.yaml]\ny: {r: 3}\nz: ${x}\n")
    layers = OmegaConf.to_container(load_layers(tmp_path / "c.yaml"), resolve=True)
    assert layers == {"x": 2, "y": {"p": 1, "q": 2, "r": 3}, "z": 2}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a": "extends: b.yaml", "b": "extends: a.yaml"}, ["a.yaml -> b.yaml -> a.yaml", "Take one"]),
        ({"a": "extends: b.yaml"}, ["b.yaml, which", "a.yaml extends, is no file"]),
        ({"a": "extends: 270n"}, ["no recipe named '270n'", "did you mean"]),
        ({"a": "- 1"}, ["a.yaml is no mapping"]),
    ],
)
def test_files_that_cannot_be_laid_on_one_another_are_named(files, words, tmp_path):
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises((ValueError, OSError)) as refused:
        load_layers(tmp_path / "a.yaml")
    assert all(word in str(refused.value) for word in words), refused.value
