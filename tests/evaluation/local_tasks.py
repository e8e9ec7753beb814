"""Tiny random datasets in the formats of the paper's eight tasks, as copies of their hub repositories."""

import json
import random
import re
from pathlib import Path

import lm_eval

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


def write_tasks(folder: Path) -> None:
    """Writes all eight under their names on the hub."""
    rng = random.Random(1)
    train_and = {"train": 2, "validation": NUM_DOCUMENTS}
    arc = parts(arc_question, rng, train=2, validation=2, test=NUM_DOCUMENTS)
    write_dataset(folder / "Rowan" / "hellaswag", {"default": parts(hellaswag_story, rng, **train_and)})
    write_dataset(folder / "allenai" / "ai2_arc", {"ARC-Easy": arc, "ARC-Challenge": arc})
    write_dataset(folder / "aps" / "super_glue", {"boolq": parts(boolq_question, rng, **train_and)})
    book = parts(openbook_question, rng, train=2, validation=2, test=NUM_DOCUMENTS)
    write_dataset(folder / "allenai" / "openbookqa", {"main": book})
    write_dataset(folder / "baber" / "piqa", {"default": parts(piqa_goal, rng, **train_and)})
    grande = parts(winogrande_sentence, rng, **train_and)
    write_dataset(folder / "allenai" / "winogrande", {"winogrande_xl": grande})
    subjects = {name: parts(mmlu_question, rng, test=3, validation=2, dev=5) for name in mmlu_subjects()}
    write_dataset(folder / "cais" / "mmlu", subjects)


def mmlu_subjects() -> list[str]:
    """The names of MMLU's 57 parts, from the harness's own task files."""
    files = (Path(lm_eval.__file__).parent / "tasks" / "mmlu" / "default").glob("mmlu_*.yaml")
    return sorted(re.search(r'"dataset_name": "(\w+)"', file.read_text())[1] for file in files)


def parts(document, rng: random.Random, **sizes: int) -> dict[str, list[dict]]:
    """Documents of one kind for each part of a dataset."""
    return {part: [document(rng) for _ in range(size)] for part, size in sizes.items()}


def hellaswag_story(rng: random.Random) -> dict:
    return {
        "activity_label": phrase(rng, 2),
        "ctx_a": phrase(rng, 5) + ".",
        "ctx_b": phrase(rng, 3),
        "endings": [phrase(rng, rng.randint(2, 6)) for _ in range(4)],
        "label": str(rng.randrange(4)),
    }


def four_choices(rng: random.Random) -> dict:
    choices = {"text": [phrase(rng, 2) for _ in range(4)], "label": ["A", "B", "C", "D"]}
    return {"choices": choices, "answerKey": rng.choice("ABCD")}


def arc_question(rng: random.Random) -> dict:
    return {"question": phrase(rng, 6) + "?", **four_choices(rng)}


def openbook_question(rng: random.Random) -> dict:
    return {"question_stem": phrase(rng, 6), **four_choices(rng)}


def boolq_question(rng: random.Random) -> dict:
    return {"passage": phrase(rng, 9) + ".", "question": phrase(rng, 4), "label": rng.randrange(2)}


def piqa_goal(rng: random.Random) -> dict:
    return {"goal": phrase(rng, 4), "sol1": phrase(rng, 4), "sol2": phrase(rng, 5), "label": rng.randrange(2)}


def winogrande_sentence(rng: random.Random) -> dict:
    return {
        "sentence": f"{phrase(rng, 3)} _ {phrase(rng, 3)}.",
        "option1": phrase(rng, 1),
        "option2": phrase(rng, 1),
        "answer": rng.choice("12"),
    }


def mmlu_question(rng: random.Random) -> dict:
    return {
        "question": phrase(rng, 6) + "?",
        "choices": [phrase(rng, 2) for _ in range(4)],
        "answer": rng.randrange(4),
    }


def phrase(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def write_dataset(folder: Path, configs: dict[str, dict[str, list[dict]]]) -> None:
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
