"""Bag shards and YAML settings for runs of LLM Foundry's own `train`."""

import json
import os
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import tstdata

torch.set_num_threads(1)

VOCABULARY, SEQ_LEN, BAG_SIZE, SWITCH, NUM_BATCHES = 512, 32, 4, 2, 4


@pytest.fixture(scope="session")
def environment():
    """The environment's own commands first on the path, one thread."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory):
    """A byte-level BPE tokenizer, as transformers saves one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train(sources(), trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def bags(tokenizer_dir, tmp_path_factory):
    """Bag shards, read only."""
    out = tmp_path_factory.mktemp("data") / "bags"
    tstdata.prepare(sources(), out, tokenizer_dir, SEQ_LEN)
    return out


def sources():
    """The source of Python's email package: real text that is on every machine."""
    return sorted(str(path) for path in (Path(sysconfig.get_path("stdlib")) / "email").glob("*.py"))
