"""A run's YAML: everything wrong is said at once, by full path, before any heavy import."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_run import write_run

from tstruns import RunConfig, read_config
from tstruns.model_keys import known_keys, model_problems
from tstruns.sections import BagDataset

FAMILIES = ["llama", "qwen3", "qwen3_moe", "mixtral", "gemma3_text", "gpt_neox", "opt", "gpt2", "smollm3"]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_run(tmp_path, tmp_path / "data")


def problems(file: Path, *overrides: str) -> list[str]:
    with pytest.raises(ValueError, match="nothing was started") as raised:
        read_config(file, overrides)
    head, *lines = str(raised.value).split("\n  ")
    assert head.startswith(f"{file} has {len(lines)} problem")
    return lines


def test_a_good_file_is_read_with_its_defaults(good):
    config = read_config(good)
    assert config.optimizer.name == "decoupled_adamw"
    assert config.train_loader.num_workers == 0
    assert config.algorithms.token_superposition is not None


@pytest.mark.parametrize(
    ("override", "path", "rest"),
    [
        ("max_durations=1ba", "max_durations", "unknown key; did you mean 'max_duration'?"),
        ("optimizer.lrr=1", "optimizer.lrr", "unknown key; did you mean 'lr'?"),
        ("scheduler.t_warm=1ba", "scheduler.t_warm", "unknown key; did you mean 't_warmup'?"),
        ("train_loader.dataset.bagsize=2", "train_loader.dataset.bagsize", "did you mean 'bag_size'?"),
        ("fsdp_config.activation_checkpoint=true", "fsdp_config", "did you mean 'activation_checkpointing'?"),
        ("fsdp_config.mixed_precision=HALF", "fsdp_config.mixed_precision", "'HALF'; the rule: 'DEFAULT'"),
        ("compile_config.full_graph=true", "compile_config.full_graph", "did you mean 'fullgraph'?"),
        ("compile_confg={}", "compile_confg", "did you mean 'compile_config'?"),
        ("callbacks.lr_moniter={}", "callbacks.lr_moniter", "unknown key; did you mean 'lr_monitor'?"),
        ("model.config.hiden_size=8", "model.config.hiden_size", "did you mean 'hidden_size'?"),
        ("model.config.model_type=lama", "model.config.model_type", "found 'lama'; did you mean 'llama'?"),
        ("optimizer.name=adam", "optimizer.name", "found 'adam'; did you mean 'adamw'?"),
        (
            "algorithms.gradient_clipping.clipping_type=nrm",
            "algorithms.gradient_clipping",
            "'nrm'; the rule: 'norm'",
        ),
        ("seed='17'", "seed", "found '17'; the rule: a valid integer"),
        ("max_duration=1000", "max_duration", "found 1000; the rule: a time is a number and a unit"),
        ("max_duration=0.5dur", "max_duration", "found '0.5dur'; the rule: a time is a number and a unit"),
        (
            "scheduler.t_decay=2dur",
            "scheduler.t_decay",
            "found '2dur'; the rule: a time is a number and a unit",
        ),
        ("optimizer.betas=[0.9]", "optimizer.betas", "found [0.9]; the rule: two numbers"),
        ("optimizer=null", "optimizer", "found None"),
        ("model.config.num_hidden_layers='2'", "model.config.num_hidden_layers", "found '2'; the rule: int"),
        ("save_num_checkpoints_to_keep=0", "save_num_checkpoints_to_keep", "found 0; the rule: -1 for all"),
        (
            "device_train_microbatch_size=0",
            "device_train_microbatch_size",
            "found 0; the rule: a number of rows",
        ),
    ],
)
def test_an_unknown_key_or_a_wrong_value_is_named_by_its_full_path(good, override, path, rest):
    (found,) = problems(good, override)
    assert found.startswith(path)
    assert rest in found


@pytest.mark.parametrize(
    ("override", "both"),
    [
        ("global_train_batch_size=5", ("5 rows", "2 ranks")),
        ("device_train_microbatch_size=3", ("3 rows", "the 2 a rank has")),
        ("algorithms.token_superposition=null", ("superposition_batches: 5", "no token_superposition")),
        ("algorithms.token_superposition.bag_size=4", ("bag_size: 4", "is 2")),
        (
            "algorithms.token_superposition={mode: output_only, bag_size: 2, duration: 5ba}",
            ("superposition_batches: 5", "'output_only'"),
        ),
        ("model.config.num_attention_heads=3", ("hidden_size: 16", "num_attention_heads 3")),
        ("scheduler.t_warmup=0.9dur", ("'0.9dur'", "'0.25dur'")),
        ("scheduler.t_decay=400tok", ("'400tok'", "'12ba'")),
        ("compile_config={}", ("use_cache: left out", "compile_config")),
        (
            "fsdp_config={activation_checkpointing: true}",
            ("use_cache: left out", "fsdp_config.activation_checkpointing"),
        ),
        ("eval_loader.dataset.superposition_batches=1", ("superposition_batches: 1", "next-token")),
        ("train_loader.dataset.local=null", ("local: missing", "give a bag-shard directory")),
        ("train_loader.dataset.streams={web: {local: web}}", ("local: ", "streams beside it")),
    ],
)
def test_a_contradiction_names_both_sides(good, override, both):
    with pytest.raises(ValueError, match="nothing was started") as raised:
        read_config(good, [override], num_ranks=2)
    assert all(side in str(raised.value) for side in both), str(raised.value)


def test_automatic_microbatches_are_refused_with_fsdp(good):
    overrides = ["fsdp_config={}", "device_train_microbatch_size=auto"]
    with pytest.raises(ValueError, match=r"'auto', but .*fsdp_config"):
        read_config(good, overrides)


def test_all_problems_of_a_file_come_at_once(good):
    lines = problems(good, "sed=1", "optimizer.lr=high", "model.config.hiden_size=8", "model.name=mpt")
    assert [line.split(":")[0] for line in lines] == [
        "model.name",
        "optimizer.lr",
        "sed",
        "model.config.hiden_size",
    ]


def test_reading_a_config_loads_neither_torch_nor_composer(good):
    code = (
        f"import sys, tstruns\ntstruns.read_config({str(good)!r})\n"
        "print([m for m in ('torch', 'composer', 'streaming', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_overrides_win_and_interpolations_are_resolved(good):
    with good.open("a") as file:
        file.write("variables: {rate: 1.0e-3}\n")
    config = read_config(good, ["optimizer.lr=${variables.rate}", "max_duration=20ba"])
    assert config.optimizer.lr == 1e-3
    assert config.max_duration == "20ba"
    assert "variables" not in config.as_run()


def test_null_switches_a_section_off(good):
    assert read_config(good, ["eval_loader=null"]).eval_loader is None


def test_another_kind_of_schedule_is_taken_by_dropping_the_first_one_s_keys(good):
    other = ["scheduler.name=constant_with_warmup", "scheduler.t_decay=null"]
    assert read_config(good, other).scheduler.model_dump() == {
        "name": "constant_with_warmup",
        "t_warmup": read_config(good).scheduler.t_warmup,
    }
    with pytest.raises(ValueError, match=r"scheduler\.t_warmup: missing"):
        read_config(good, ["scheduler.t_warmup=null"])


def test_the_config_as_run_reads_back_as_itself(good, tmp_path):
    config = read_config(good)
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(config.as_run()))
    assert read_config(again).as_run() == config.as_run()


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "a: ${b.c}\n", "a: 1\na: 2\n", "just words\n"])
def test_a_file_that_is_no_mapping_is_a_message_naming_it(tmp_path, text):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"bad\.yaml"):
        read_config(file)


def test_an_override_without_a_value_says_what_one_looks_like(good):
    with pytest.raises(ValueError, match="found 'seed'; an override is key=value"):
        read_config(good, ["seed"])


def test_model_keys_read_from_source_are_those_of_the_imported_classes():
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    for family in FAMILIES:
        arguments = inspect.signature(CONFIG_MAPPING[family].__init__).parameters.values()
        named = {
            argument.name: argument.default
            for argument in arguments
            if argument.name not in ("self", "kwargs")
        }
        for key, default in named.items():
            # A default that is computed (4096 * 32) reads as none, and its type is not checked.
            assert known_keys()[family][key] in (default, None), (family, key)


def test_every_alias_of_a_model_key_is_taken():
    assert model_problems({"model_type": "gpt2", "hidden_size": 8, "num_hidden_layers": 1, "n_head": 2}) == []


def test_every_dataset_key_is_an_argument_of_the_dataset():
    from streaming import StreamingDataset

    from tstdata import StreamingBagDataset

    ours, streaming = (inspect.signature(kind).parameters for kind in (StreamingBagDataset, StreamingDataset))
    assert set(BagDataset.model_fields) <= {*ours, *streaming}


def test_the_page_names_every_key_of_the_yaml():
    page = (Path(__file__).parent.parent / "docs" / "train.md").read_text()
    assert [key for key in RunConfig.model_fields if f"`{key}`" not in page] == []
