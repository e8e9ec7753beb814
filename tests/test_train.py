"""`tst train` whole: killed and resumed, one rank and two, and what it leaves in its directory."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from composer.models import HuggingFaceModel
from small_run import GPT2_WITH_DROPOUT, LLAMA, metrics_without_times, run, write_run
from tokenizers import Tokenizer
from tst_tools import cli

import tstdata
from tstdata import DatasetCard
from tstruns import RunDirectory

# Streaming leaves the closing of a shard it has checked to the garbage collector.
pytestmark = pytest.mark.filterwarnings(r"ignore:unclosed file .*\.mds:ResourceWarning")
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}
KEYS = ("input_ids", "position_ids", "sequence_id")


@pytest.fixture(scope="module")
def finished(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished small run's YAML; its directory lies beside it."""
    file = write_run(tmp_path_factory.mktemp("finished"), small_dataset)
    run(file)
    return file


def test_every_batch_has_a_line_with_the_loss_of_its_phase(finished):
    lines = metrics_without_times(finished.parent / "run")
    assert [line["batch"] for line in lines] == list(range(1, 13))
    assert [line["superposition/phase"] for line in lines] == [1] * 5 + [2] * 7
    assert [line["superposition/bag_size"] for line in lines] == [2] * 5 + [1] * 7
    assert ["loss/train/superposition" in line for line in lines] == [True] * 5 + [False] * 7
    assert ["loss/train/next_token" in line for line in lines] == [False] * 5 + [True] * 7
    # 4 rows of 32 latent positions a step, twice as many tokens while s is 2.
    assert [line["equivalent_tokens"] for line in lines] == [128 * n for n in range(1, 13)]
    assert [line["tokens"] for line in lines] == [128 * (n + min(n, 5)) for n in range(1, 13)]
    assert "metrics/eval/LanguageCrossEntropy" in lines[-1]


def test_summary_is_what_the_metrics_say(finished):
    directory = RunDirectory(finished.parent / "run")
    lines, summary = list(directory.metrics()), directory.summary()
    recovery = [line["loss/train/next_token"] for line in lines[5:]]
    assert summary["train_loss"] == pytest.approx(sum(recovery) / 7)
    assert (summary["steps"], summary["superposition_steps"], summary["tokens"]) == (12, 5, 128 * 17)
    evaluated = lines[-1]["metrics/eval/LanguageCrossEntropy"]
    assert summary["eval"]["metrics/eval/LanguageCrossEntropy"] == evaluated


def test_summary_says_what_makes_runs_comparable(finished, small_dataset):
    summary, card = RunDirectory(finished.parent / "run").summary(), DatasetCard.load(small_dataset)
    # 1 layer of width 16, gated feed-forward of 32, 1,024 ids; forward and backward, 32 positions of scores.
    weights = 4 * 16 * 16 + 3 * 16 * 32 + 1024 * 16
    assert summary["flops_per_position"] == 6 * weights + 12 * 16 * 32
    identity = {"sha256": card.sha256, "seq_len": 32, "tokenizer_sha256": card.tokenizer.vocab_sha256}
    assert summary["train_data"] == identity
    assert summary["eval_data"] == {**identity, "rows": 8}


def test_a_finished_run_says_so_and_is_left_as_it_is(finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.parent.rglob("*")}
    assert cli.main(["train", str(finished)]) == 0
    captured = capsys.readouterr()
    assert "is finished already: nothing to do" in captured.err
    assert json.loads(captured.out)["steps"] == 12
    assert {path: path.stat().st_mtime_ns for path in finished.parent.rglob("*")} == before


def test_a_longer_max_duration_goes_on_and_stays_in_recovery(finished, tmp_path):
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(finished.parent / "run", folder, symlinks=True)
    summary = run(finished, f"run_dir={folder}", "max_duration=16ba")
    lines = metrics_without_times(folder)
    assert summary["steps"] == 16
    assert lines[:12] == metrics_without_times(finished.parent / "run")
    assert [line["superposition/phase"] for line in lines[12:]] == [2] * 4


def test_the_checkpoint_carries_the_dataset_s_tokenizer_and_vocabulary(finished, tokenizer):
    state = torch.load(finished.parent / "run" / "checkpoints" / "latest-rank0.pt", weights_only=False)
    saved = state["state"]["integrations"]["huggingface"]
    assert saved["model"]["config"]["content"]["vocab_size"] == tokenizer.get_vocab_size()
    vocabulary = saved["tokenizer"]["tokenizer.json"]["content"]["model"]["vocab"]
    assert vocabulary == tokenizer.get_vocab(with_added_tokens=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [pytest.param(LLAMA, id="llama"), pytest.param(GPT2_WITH_DROPOUT, id="gpt2-with-dropout")],
)
def test_a_killed_run_resumed_by_the_same_command_has_the_metrics_of_an_unbroken_one(
    model, small_dataset, tmp_path
):
    overrides = [
        "max_duration=40ba",
        "save_interval=3ba",
        "save_num_checkpoints_to_keep=2",
        "eval_interval=7ba",
    ]
    unbroken = write_run(tmp_path, small_dataset, "unbroken", model)
    killed = write_run(tmp_path, small_dataset, "killed", model)
    run(unbroken, *overrides)
    command = [sys.executable, "-m", "tst_tools", "train", str(killed), *overrides]
    directory = RunDirectory(tmp_path / "killed")
    process = subprocess.Popen(command, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and sum(1 for _ in directory.metrics()) < 16:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not directory.summary_file.exists()
    at_kill = len(list(directory.metrics()))
    run(killed, *overrides)
    assert at_kill < 40
    assert metrics_without_times(directory.path) == metrics_without_times(tmp_path / "unbroken")
    assert len(list(directory.checkpoints.glob("ep*"))) == 2
    assert directory.log_file.read_text().count("goes on from ep0-ba") == 1


@pytest.mark.slow
def test_two_gloo_ranks_have_the_losses_of_one(small_dataset, finished, tmp_path):
    file = write_run(tmp_path, small_dataset, "two")
    command = [
        sys.executable,
        "-m",
        "composer.cli.launcher",
        "-n",
        "2",
        "-m",
        "tst_tools",
        "train",
        str(file),
    ]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = metrics_without_times(finished.parent / "run"), metrics_without_times(tmp_path / "two")
    assert len(two) == 12
    for first, second in zip(one, two, strict=True):
        assert second == pytest.approx(first, rel=1e-4), (first, second)
    assert RunDirectory(tmp_path / "two").summary()["num_ranks"] == 2


@pytest.mark.parametrize("on_tokens", ["false", "true"])
def test_microbatches_give_the_losses_of_the_whole_batch(on_tokens, small_dataset, finished, tmp_path):
    accumulate = f"accumulate_train_batch_on_tokens={on_tokens}"
    run(write_run(tmp_path, small_dataset), "device_train_microbatch_size=1", accumulate)
    whole, parts = metrics_without_times(finished.parent / "run"), metrics_without_times(tmp_path / "run")
    for first, second in zip(whole, parts, strict=True):
        assert second == pytest.approx(first, rel=1e-5)


def test_remote_shards_train_alike_and_bring_their_tokenizer(small_dataset, finished, tmp_path):
    cache = tmp_path / "cache"
    data = (f"train_loader.dataset.remote={small_dataset}", f"train_loader.dataset.local={cache}")
    run(write_run(tmp_path, small_dataset), *data)
    assert metrics_without_times(tmp_path / "run") == metrics_without_times(finished.parent / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "latest-rank0.pt"
    state = torch.load(checkpoint, weights_only=False)["state"]["integrations"]["huggingface"]
    assert "tokenizer.json" in state["tokenizer"]


def test_places_in_documents_reach_the_model_in_both_phases_when_the_yaml_asks_for_them(
    tokenizer_dir, tmp_path, monkeypatch
):
    (tmp_path / "short.jsonl").write_text('{"text": "One short story."}\n{"text": "And another."}\n' * 500)
    tstdata.prepare(tmp_path / "short.jsonl", tmp_path / "bags", tokenizer_dir, 32)
    seen, forward = [], HuggingFaceModel.forward
    monkeypatch.setattr(
        HuggingFaceModel, "forward", lambda self, batch: (seen.append(batch), forward(self, batch))[1]
    )
    asked = ("train_loader.sequence_ids=true", "train_loader.position_ids=true", "eval_loader=null")
    run(write_run(tmp_path, tmp_path / "bags"), *asked)
    assert [batch["position_ids"].shape for batch in seen] == [(4, 32)] * 12
    end = DatasetCard.load(tmp_path / "bags").tokenizer.eos_id
    for batch in seen[5:]:
        for row, places, numbers in zip(*(batch[key].tolist() for key in KEYS), strict=True):
            before = [row[:at] for at in range(len(row))]
            assert numbers == [ids.count(end) for ids in before]
            assert places == [(ids[::-1].index(end) if end in ids else len(ids)) for ids in before]
    assert any(number for batch in seen for number in batch["sequence_id"].flatten().tolist())


def test_streams_train_as_the_dataset_that_they_are(small_dataset, finished, tmp_path):
    streams = f"train_loader.dataset.streams={{all: {{local: {small_dataset}, repeat: 1}}}}"
    run(write_run(tmp_path, small_dataset), streams, "train_loader.dataset.local=null")
    assert metrics_without_times(tmp_path / "run") == metrics_without_times(finished.parent / "run")


def test_a_run_branches_off_another_s_checkpoint_with_a_schedule_of_its_own(small_dataset, tmp_path):
    stem, branch = (write_run(tmp_path, small_dataset, name) for name in ("stem", "branch"))
    run(stem, "save_interval=6ba", "scheduler={t_decay: 0ba}")
    checkpoint = tmp_path / "stem" / "checkpoints" / "ep0-ba6-rank0.pt"
    run(branch, f"load_path={checkpoint}", "max_duration=10ba", "scheduler={t_decay: 3ba}")
    stem_lines, lines = (metrics_without_times(tmp_path / name) for name in ("stem", "branch"))
    assert [line["batch"] for line in lines] == [7, 8, 9, 10]
    assert lines[0] == stem_lines[6]
    assert lines[-1]["lr"] < stem_lines[9]["lr"]
    with pytest.raises(ValueError, match="is at batch 6 already, and max_duration is '6ba'"):
        run(branch, f"load_path={checkpoint}", "max_duration=6ba", f"run_dir={tmp_path / 'none'}")


def test_another_tokenizer_than_the_data_s_is_refused(small_dataset, tmp_path, tokenizer_dir):
    other = tmp_path / "other"
    other.mkdir()
    changed = Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))
    changed.add_tokens(["one more"])
    changed.save(str(other / "tokenizer.json"))
    with pytest.raises(ValueError, match="the tokenizer is unlike the dataset's"):
        run(write_run(tmp_path, small_dataset), f"tokenizer.name={other}")


def test_weights_depend_on_the_seed_and_not_on_the_loaders(small_dataset, tmp_path):
    def first_loss(name: str, *overrides: str) -> float:
        file = write_run(tmp_path, small_dataset, name)
        run(file, "max_duration=1ba", "scheduler.t_warmup=0ba", "eval_loader=null", *overrides)
        return next(RunDirectory(tmp_path / name).metrics())["loss/train/superposition"]

    assert first_loss("a") == first_loss("b", "train_loader.num_workers=1") != first_loss("c", "seed=6")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("precision=amp_bf16", "precision: 'amp_bf16' needs a GPU"),
        ("device_train_microbatch_size=auto", "device_train_microbatch_size: 'auto' needs a GPU"),
        (
            "model.config.vocab_size=100",
            "model.config.vocab_size: 100, but the training data's tokenizer has 1024",
        ),
        ("model.config.hidden_act=selu2", "model.config: transformers builds no causal language model"),
        ("loggers.wandb={}", "loggers.wandb: its package is not installed; pip install wandb"),
        ("tokenizer.name=nowhere", "tokenizer.name: nowhere holds no tokenizer.json"),
    ],
)
def test_what_cannot_run_is_refused_with_what_to_type(override, message, small_dataset, tmp_path, capsys):
    assert cli.main(["train", str(write_run(tmp_path, small_dataset)), override]) == 2
    assert f"tst train: error: {message}" in capsys.readouterr().err
