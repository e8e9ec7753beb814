"""`tst eval` with the harness's own tasks on tiny local datasets in the formats of the hub's."""

import json
import random
import sysconfig
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tst_tools import cli

from tstruns.evaluation import evaluate

WORDS = [
    "file",
    "line",
    "text",
    "name",
    "value",
    "list",
    "path",
    "count",
    "order",
    "start",
    "end",
    "block",
    "field",
    "table",
    "index",
]
NUM_DOCUMENTS = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with random weights and its tokenizer, as `tst export` writes them."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train([str(Path(sysconfig.get_path("stdlib")) / "argparse.py")], trainer)
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=512, initializer_range=0.5, **shape)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def phrase(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def write(folder: Path, configs: dict[str, dict[str, list[dict]]]) -> None:
    """Writes a dataset as a clone of a hub repository: jsonl files, and a README that names its parts."""
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, documents in splits.items():
            file = folder / config / f"{split}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(json.dumps(document) + "\n" for document in documents))
            lines += [f"  - split: {split}", f"    path: {config}/{split}.jsonl"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("data"), random.Random(1)
    hellaswag = [
        {
            "activity_label": phrase(rng, 2),
            "ctx_a": phrase(rng, 5) + ".",
            "ctx_b": phrase(rng, 3),
            "endings": [phrase(rng, rng.randint(2, 6)) for _ in range(4)],
            "label": str(rng.randrange(4)),
        }
        for _ in range(NUM_DOCUMENTS)
    ]
    write(folder / "Rowan" / "hellaswag", {"default": {"train": hellaswag[:2], "validation": hellaswag}})
    arc = [
        {
            "question": phrase(rng, 6) + "?",
            "choices": {"text": [phrase(rng, 2) for _ in range(4)], "label": ["A", "B", "C", "D"]},
            "answerKey": rng.choice("ABCD"),
        }
        for _ in range(NUM_DOCUMENTS)
    ]
    splits = {"train": arc[:2], "validation": arc[:2], "test": arc}
    write(folder / "allenai" / "ai2_arc", {"ARC-Easy": splits, "ARC-Challenge": splits})
    mmlu = [
        {
            "question": phrase(rng, 6) + "?",
            "choices": [phrase(rng, 2) for _ in range(4)],
            "answer": rng.randrange(4),
        }
        for _ in range(NUM_DOCUMENTS)
    ]
    splits = {"test": mmlu, "validation": mmlu[:2], "dev": mmlu[:5]}
    write(folder / "cais" / "mmlu", {"anatomy": splits, "astronomy": splits})
    return folder


@torch.no_grad()
def log_likelihood(model: Path, context: str, continuation: str) -> float:
    """The dumb way: one forward pass, the log-probabilities of the continuation's tokens added up."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    network = transformers.AutoModelForCausalLM.from_pretrained(model)
    whole, start = tokenizer(context + continuation)["input_ids"], len(tokenizer(context)["input_ids"])
    scores = network(torch.tensor([whole])).logits[0].log_softmax(-1)
    return sum(float(scores[place - 1, whole[place]]) for place in range(start, len(whole)))


def test_accuracies_are_those_of_adding_up_log_probabilities_by_hand(model, data, tmp_path):
    with (data / "allenai" / "ai2_arc" / "ARC-Easy" / "test.jsonl").open() as file:
        documents = [json.loads(line) for line in file]
    right = 0
    for document in documents:
        context = f"Question: {document['question']}\nAnswer:"
        scores = [log_likelihood(model, context, f" {text}") for text in document["choices"]["text"]]
        right += scores.index(max(scores)) == "ABCD".index(document["answerKey"])
    results = evaluate(model, ["arc_easy", "arc_challenge"], data)["results"]
    assert results["arc_easy"]["acc,none"] == pytest.approx(right / NUM_DOCUMENTS)
    assert 0 < right < NUM_DOCUMENTS
    # The same documents under another name.
    assert results["arc_challenge"]["acc,none"] == results["arc_easy"]["acc,none"]


def test_the_command_prints_a_table_and_writes_json(model, data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(model.parent)
    tasks = "hellaswag,arc_easy,mmlu_anatomy,mmlu_astronomy"
    out = tmp_path / "results.json"
    command = ["eval", model.name, "--tasks", tasks, "--data", str(data), "--out", str(out)]
    assert cli.main(command) == 0
    table = capsys.readouterr().out
    results = json.loads(out.read_text())
    assert set(results["results"]) == set(tasks.split(","))
    assert set(results["n-shot"].values()) == {0}
    assert all(task.removeprefix("mmlu_") in table for task in tasks.split(","))
    assert Path.cwd() == model.parent


def test_an_unknown_task_and_absent_data_are_told_before_anything_is_evaluated(model, data):
    with pytest.raises(ValueError, match="the harness has no task 'helaswag'; did you mean 'hellaswag'"):
        evaluate(model, ["helaswag"], data)
    with pytest.raises(FileNotFoundError, match=r"lacks the data of a task: .*piqa"):
        evaluate(model, ["piqa"], data)
    with pytest.raises(FileNotFoundError, match="holds no config"):
        evaluate(data, ["piqa"], data)
