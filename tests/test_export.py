"""`tst export`: what a run's checkpoint is as an ordinary Hugging Face directory."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_run import LLAMA, run, write_run
from tst_tools import cli

from tstruns.export import export

# 12 batches, the first 5 of them on bags.
STEPS = (3, 6, 9, 12)


@pytest.fixture(scope="module")
def trained(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = write_run(tmp_path_factory.mktemp("export"), small_dataset)
    run(file, "save_interval=3ba", "eval_loader=null")
    return file.parent / "run"


def checkpoint(trained: Path, step: int) -> dict[str, torch.Tensor]:
    state = torch.load(trained / "checkpoints" / f"ep0-ba{step}-rank0.pt", weights_only=False)["state"]
    return {name.removeprefix("model."): weight for name, weight in state["model"].items()}


def test_plain_transformers_loads_it_and_generates(trained, tmp_path, corpus, tokenizer):
    export(trained, tmp_path / "hf")
    text = corpus[1][0][:200]
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tstruns", "tstdata", "composer_algo", "composer", "streaming"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
ids = tokenizer(sys.argv[2], return_tensors="pt")["input_ids"]
print(ids[0].tolist())
print(model.generate(ids[:, :8], max_new_tokens=5, do_sample=False).shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "hf"), text], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ids, shape = done.stdout.splitlines()
    assert ids == str(tokenizer.encode(text, add_special_tokens=False).ids)
    assert shape == "torch.Size([1, 13])"
    names = {path.name for path in (tmp_path / "hf").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"} <= names


@pytest.mark.parametrize("step", [None, 3])
def test_every_weight_is_the_checkpoints_own(trained, tmp_path, step):
    from transformers import AutoModelForCausalLM

    done = export(trained, tmp_path / "hf", step)
    assert done.batch == (step or 12)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "hf").state_dict()
    expected = checkpoint(trained, done.batch)
    assert set(loaded) == set(expected)
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


VISITED = "num_experts_per_tok: 2, moe_intermediate_size: 8"
OTHERS = {
    "tied": f"{LLAMA}, tie_word_embeddings: true",
    "mixture-of-experts": f"{LLAMA}, num_key_value_heads: 2, head_dim: 8, num_experts: 4, {VISITED}".replace(
        "llama", "qwen3_moe"
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_tied_weights_and_experts_are_exported_alike(kind, small_dataset, tmp_path):
    from transformers import AutoModelForCausalLM

    run(write_run(tmp_path, small_dataset, model=OTHERS[kind]), "eval_loader=null")
    export(tmp_path / "run", tmp_path / "hf")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "hf").state_dict()
    expected = checkpoint(tmp_path / "run", 12)
    assert set(loaded) == set(expected)
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)
    tied = loaded["lm_head.weight"].data_ptr() == loaded["model.embed_tokens.weight"].data_ptr()
    assert tied == (kind == "tied")


def test_a_checkpoint_of_the_superposition_phase_is_written_with_a_warning(trained, tmp_path, capsys):
    for step in STEPS:
        assert cli.main(["export", str(trained), "--to", str(tmp_path / str(step)), "--step", str(step)]) == 0
        captured = capsys.readouterr()
        assert ("is in the superposition phase, which ends at batch 5" in captured.err) == (step < 5)
        assert captured.out == f"{tmp_path / str(step)}\n"


def test_nothing_is_left_beside_the_new_directory(trained, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "scratch").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    export(trained, "hf")
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["hf"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_what_is_there_is_never_written_over(trained, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="is there already; give another --to"):
        export(trained, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_step_without_a_checkpoint_names_those_there_are(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint of batch 7; there are those of 3, 6, 9, 12"):
        export(trained, tmp_path / "hf", 7)
    with pytest.raises(FileNotFoundError, match="is no run directory"):
        export(tmp_path, tmp_path / "hf")


def test_a_checkpoint_that_a_run_is_writing_is_left_alone(trained, tmp_path):
    half = trained / "checkpoints" / "ep0-ba15-rank0.pt"
    half.write_bytes((trained / "checkpoints" / "ep0-ba12-rank0.pt").read_bytes()[:-20])
    try:
        assert export(trained, tmp_path / "hf").batch == 12
        assert half.exists()
    finally:
        half.unlink()
