"""Laws of checkpoints over real bag shards: stopped anywhere, resumed elsewhere, and loaded without Composer.

Run as a script this file is the fresh process that resumes: `test_algorithm_resume.py DATASET CHECKPOINTS`.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from composer.models import HuggingFaceModel
from tiny_models import LLAMA_LIKE, SMALL
from tiny_runs import train

import tstdata
from composer_algo import TokenSuperposition

SWITCH, NUM_BATCHES, BAG_SIZE = 3, 6, 4
VOCABULARY = 1024
# Inside the superposition phase, at the switch, and inside the recovery phase.
STOPS = (1, SWITCH, 5)
WORKERS = (0, 2)


def bag_loader(folder, *, num_workers=0, superposition_batches=SWITCH, bag_size=BAG_SIZE, rows=4):
    dataset = {
        "local": str(folder),
        "shuffle": True,
        "num_canonical_nodes": 1,
        "bag_size": bag_size,
        "superposition_batches": superposition_batches,
    }
    return tstdata.build_bag_dataloader(dataset, device_batch_size=rows, num_workers=num_workers)


def small_model(tokenizer=None):
    """Without dropout: Composer 0.32 restores no random state where the dataset resumes by itself."""
    sizes = {**SMALL, **LLAMA_LIKE, "vocab_size": VOCABULARY}
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**sizes))
    return HuggingFaceModel(model, tokenizer=tokenizer, use_logits=True, metrics=[])


def run(folder, algorithm, *, num_batches=NUM_BATCHES, num_workers=0, tokenizer=None, data=None, **changes):
    return train(
        algorithm,
        data or bag_loader(folder, num_workers=num_workers),
        model=small_model(tokenizer),
        num_batches=num_batches,
        **changes,
    )


@pytest.fixture(scope="module")
def whole(small_dataset, tokenizer_dir, tmp_path_factory):
    """A run that nobody stopped, with a checkpoint after each batch."""
    folder = tmp_path_factory.mktemp("checkpoints")
    saving = {"save_folder": str(folder), "save_interval": "1ba", "save_filename": "ba{batch}.pt"}
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_dir)
    return run(small_dataset, TokenSuperposition(duration="0.5dur"), tokenizer=tokenizer, **saving), folder


def test_run_over_bag_shards_superposes_until_the_switch(whole):
    superposed, _ = whole
    assert superposed.logged("superposition/phase") == [1] * SWITCH + [2] * (NUM_BATCHES - SWITCH)
    assert superposed.logged("superposition/mce") == superposed.losses[:SWITCH]
    tokens = superposed.logged("time/token")[1:]
    per_batch = [after - before for before, after in zip([0, *tokens], tokens, strict=False)]
    assert per_batch == [4 * 32 * BAG_SIZE] * SWITCH + [4 * 32] * (NUM_BATCHES - SWITCH)


@pytest.fixture(scope="module")
def resumed(whole, small_dataset):
    """Losses and phases of runs resumed in one fresh process, by where they stopped."""
    command = [sys.executable, __file__, str(small_dataset), str(whole[1])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("num_workers", WORKERS)
@pytest.mark.parametrize("stop", STOPS)
def test_run_resumed_in_a_fresh_process_loses_nothing_bit_for_bit(whole, resumed, stop, num_workers):
    assert resumed[f"{stop} {num_workers}"] == whole[0].losses[stop:]


@pytest.mark.parametrize("stop", STOPS)
def test_longer_max_duration_on_resume_does_not_superpose_again(resumed, stop):
    # 0.5dur of 10 batches, worked out anew, would be batch 5.
    assert resumed[f"{stop} longer"] == [1] * (SWITCH - stop) + [2] * (10 - max(stop, SWITCH))


def test_checkpoint_resumed_with_another_switch_or_bag_size_is_refused(whole, small_dataset):
    _, folder = whole
    inside = {"load_path": str(folder / "ba1.pt"), "load_ignore_keys": ["state/dataset_state"]}
    later = bag_loader(small_dataset, superposition_batches=4)
    with pytest.raises(ValueError, match=r"switch_batch 3 .* switch_batch 4"):
        run(small_dataset, TokenSuperposition(), data=later, **inside)
    wider = bag_loader(small_dataset, bag_size=2)
    with pytest.raises(ValueError, match=r"bag_size 4 .* bag_size 2"):
        run(small_dataset, TokenSuperposition(), data=wider, **inside)
    with pytest.raises(ValueError, match=r"weighting 'uniform' .* weighting 'exponential'"):
        run(small_dataset, TokenSuperposition(weighting="exponential"), **inside)


def test_checkpoint_inside_superposition_resumed_without_the_algorithm_is_refused(whole, small_dataset):
    with pytest.raises(ValueError, match="no TokenSuperposition has attached"):
        run(small_dataset, None, load_path=str(whole[1] / "ba1.pt"))


def test_ordinary_checkpoint_is_not_superposed_from_the_middle(small_dataset, tmp_path):
    saving = {"save_folder": str(tmp_path), "save_interval": "1ba", "save_filename": "ba{batch}.pt"}
    ordinary = bag_loader(small_dataset, superposition_batches=0)
    run(small_dataset, None, data=ordinary, num_batches=1, **saving)
    loading = {"load_path": str(tmp_path / "ba1.pt"), "load_ignore_keys": ["state/dataset_state"]}
    unsaved = pytest.warns(UserWarning, match="TokenSuperposition is not in the state_dict")
    with unsaved, pytest.raises(ValueError, match=r"at batch 1 .*without TokenSuperposition.*until batch 3"):
        run(small_dataset, TokenSuperposition(), **loading)


def test_recovery_phase_needs_no_algorithm_to_resume(whole, small_dataset):
    plain = run(small_dataset, None, load_path=str(whole[1] / f"ba{SWITCH}.pt"))
    assert plain.losses == whole[0].losses[SWITCH:]


def test_epoch_after_the_one_with_bag_rows_is_read_to_its_end(small_dataset):
    data = bag_loader(small_dataset, rows=256)
    plan = data.dataloader.dataset.plan
    first, second = plan.epoch(0).num_batches, plan.epoch(1).num_batches
    assert first < second
    superposed = run(small_dataset, TokenSuperposition(), data=data, max_duration="2ep")
    assert len(superposed.losses) == first + second


def test_users_own_limit_on_epochs_stays(small_dataset):
    limited = {"train_subset_num_batches": 5, "max_duration": "2ep"}
    assert len(run(small_dataset, TokenSuperposition(), **limited).losses) == 10


def test_checkpoint_after_the_switch_loads_into_plain_transformers_and_generates(
    whole, tokenizer_dir, tmp_path
):
    _, folder = whole
    state = torch.load(folder / f"ba{NUM_BATCHES}.pt", weights_only=False)["state"]
    config = transformers.LlamaConfig(**state["integrations"]["huggingface"]["model"]["config"]["content"])
    plain = transformers.LlamaForCausalLM(config)
    plain.load_state_dict({name.removeprefix("model."): weight for name, weight in state["model"].items()})
    plain.save_pretrained(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_dir)
    inputs = tokenizer("import ", return_tensors="pt", return_token_type_ids=False)
    generated = model.generate(**inputs, max_new_tokens=4, do_sample=False, pad_token_id=0, eos_token_id=None)
    assert generated.shape[1] == inputs["input_ids"].shape[1] + 4
    assert tokenizer.decode(generated[0]).startswith("import ")


def resume_everywhere(dataset: Path, checkpoints: Path) -> dict[str, list[float]]:
    results = {}
    for stop in STOPS:
        load_path = str(checkpoints / f"ba{stop}.pt")
        for num_workers in WORKERS:
            algorithm = TokenSuperposition(duration="0.5dur")
            done = run(dataset, algorithm, num_workers=num_workers, load_path=load_path)
            results[f"{stop} {num_workers}"] = done.losses
        longer = run(dataset, TokenSuperposition(duration="0.5dur"), num_batches=10, load_path=load_path)
        results[f"{stop} longer"] = longer.logged("superposition/phase")
    return results


if __name__ == "__main__":
    print(json.dumps(resume_everywhere(Path(sys.argv[1]), Path(sys.argv[2]))))
