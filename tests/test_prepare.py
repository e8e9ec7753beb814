"""The laws of `tstdata.prepare`."""

from pathlib import Path

import numpy as np
from conftest import SMALL_SEQ_LEN
from streaming import StreamingDataset
from tokenizers import Tokenizer

import tstdata


def test_small_dataset(small_dataset: Path, corpus, tokenizer: Tokenizer):
    card = tstdata.DatasetCard.load(small_dataset)
    ds = StreamingDataset(local=str(small_dataset), batch_size=1, shuffle=False)
    got = np.concatenate([ds[i]["tokens"] for i in range(len(ds))]).tolist() + list(card.leftover)
    want = []
    for t in corpus[1]:
        want += tokenizer.encode(t, add_special_tokens=False).ids + [card.tokenizer.eos_id]
    assert got == want
    print(card.num_rows, card.num_shards, len(ds), SMALL_SEQ_LEN, [s.samples for s in ds.shards])
