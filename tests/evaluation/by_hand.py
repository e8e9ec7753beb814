"""What lm-evaluation-harness should find, the dumb way."""

import json
from pathlib import Path

import torch
import transformers


@torch.no_grad()
def log_likelihood(model: Path, context: str, continuation: str) -> float:
    """The dumb way: one forward pass, the log-probabilities of the continuation's tokens added up."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    network = transformers.AutoModelForCausalLM.from_pretrained(model)
    whole, start = tokenizer(context + continuation)["input_ids"], len(tokenizer(context)["input_ids"])
    scores = network(torch.tensor([whole])).logits[0].log_softmax(-1)
    return sum(float(scores[place - 1, whole[place]]) for place in range(start, len(whole)))


def right_answers(model: Path, questions: Path) -> tuple[int, int]:
    """Returns how many questions of an ARC file the model answers rightly, and how many there are."""
    with questions.open() as file:
        documents = [json.loads(line) for line in file]
    right = 0
    for document in documents:
        context = f"Question: {document['question']}\nAnswer:"
        scores = [log_likelihood(model, context, f" {text}") for text in document["choices"]["text"]]
        right += scores.index(max(scores)) == "ABCD".index(document["answerKey"])
    return right, len(documents)
