"""A small model and tiny datasets in the formats of the hub's, for the tests of `tst eval`."""

import json
import random
import sysconfig
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

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
