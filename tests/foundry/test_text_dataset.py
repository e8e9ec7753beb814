"""LLM Foundry's own `text` loader reads bag shards: rows of every width, as any pre-tokenized MDS dataset."""

import pytest
import torch
from conftest import SEQ_LEN, sources
from llmfoundry.data.text_data import build_text_dataloader
from transformers import AutoTokenizer

import tstdata

BATCH_SIZE = 4


@pytest.fixture(scope="module")
def wide(tokenizer_dir, tmp_path_factory):
    """The same text in rows four times as long."""
    out = tmp_path_factory.mktemp("data") / "wide"
    tstdata.prepare(sources(), out, tokenizer_dir, 4 * SEQ_LEN)
    return out


def rows_of(dataset, seq_len):
    """All whole batches of rows, in the order of the dataset."""
    bags = tstdata.StreamingBagDataset(
        local=str(dataset), bag_size=1, superposition_batches=0, batch_size=BATCH_SIZE, seq_len=seq_len
    )
    rows = [sample["input_ids"].tolist() for sample in bags]
    bags.close()
    return rows


def read_by_foundry(dataset, seq_len, tokenizer_dir):
    spec = build_text_dataloader(
        tokenizer=AutoTokenizer.from_pretrained(str(tokenizer_dir)),
        device_batch_size=BATCH_SIZE,
        dataset={"local": str(dataset), "shuffle": False, "max_seq_len": seq_len, "num_canonical_nodes": 1},
        drop_last=True,
        num_workers=0,
        prefetch_factor=None,
        persistent_workers=False,
        pin_memory=False,
    )
    batches = list(spec.dataloader)
    for batch in batches:
        assert batch["input_ids"].dtype == torch.int64
        assert spec.get_num_samples_in_batch(batch) == BATCH_SIZE
        assert spec.get_num_tokens_in_batch(batch) == BATCH_SIZE * seq_len
    return [row for batch in batches for row in batch["input_ids"].tolist()]


@pytest.mark.parametrize("width", [1, 4])
def test_the_text_loader_reads_the_rows_that_the_bag_loader_reads(bags, wide, tokenizer_dir, width):
    dataset = bags if width == 1 else wide
    read = read_by_foundry(dataset, width * SEQ_LEN, tokenizer_dir)
    assert len(read) > 20
    assert read == rows_of(dataset, width * SEQ_LEN)


def test_wide_rows_are_those_that_narrow_ones_make_when_joined(bags, wide, tokenizer_dir):
    read = read_by_foundry(wide, 4 * SEQ_LEN, tokenizer_dir)
    joined = rows_of(bags, 4 * SEQ_LEN)
    assert read[: len(joined)] == joined[: len(read)]
