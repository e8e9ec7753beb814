"""Long documents: their ids in pieces are those of the whole, or they are refused."""

import subprocess
import sys

import numpy as np
import orjson
import pytest
from test_prepare import write_jsonl
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

import tstdata
from tstdata import long_documents
from tstdata.encoder import HuggingFaceEncoder
from tstdata.long_documents import LongDocumentError, encode_long
from tstdata.splitting import splits_first
from tstdata.torture import torture_texts

LIKE_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
byte_level = pre_tokenizers.ByteLevel
SPLITS = {
    "like GPT-2": (None, byte_level(add_prefix_space=False)),
    "like Llama 3": (
        None,
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(LIKE_LLAMA_3), "isolated"),
                byte_level(add_prefix_space=False, use_regex=False),
            ]
        ),
    ),
    "NFC, lines": (
        normalizers.NFC(),
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(r"[^\n]*\n+"), "isolated"),
                byte_level(add_prefix_space=False, use_regex=False),
            ]
        ),
    ),
}


def trained(normalizer, pre_tokenizer, texts) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer or tokenizer.normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=2000, initial_alphabet=byte_level.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@pytest.mark.parametrize("name", SPLITS)
def test_ids_in_pieces_are_those_of_the_whole(name, corpus, monkeypatch):
    monkeypatch.setattr(long_documents, "_PIECE", 3000)
    monkeypatch.setattr(long_documents, "_AHEAD", 400)
    tokenizer = trained(*SPLITS[name], corpus[1])
    encoder = HuggingFaceEncoder(tokenizer)
    assert encoder.splits_first
    odd = "\n".join(f"{text[:1500]} and some words more,\nthen lines" for text in torture_texts(tokenizer))
    cuts = []
    next_cut = long_documents._next_cut

    def counted(*arguments):
        cuts.append(next_cut(*arguments))
        return cuts[-1]

    monkeypatch.setattr(long_documents, "_next_cut", counted)
    for text in ("\n".join(corpus[1]), odd, " ".join("\n".join(corpus[1]).split())):
        found = encode_long(text, encoder, 1 << 22)
        assert np.array_equal(found, encoder.encode_batch([text])[0])
    assert sum(cut is not None for cut in cuts) > (2 if name == "NFC, lines" else 100)


def test_a_tokenizer_that_merges_across_words_is_not_cut(corpus, monkeypatch):
    monkeypatch.setattr(long_documents, "_PIECE", 3000)
    monkeypatch.setattr(long_documents, "_AHEAD", 400)
    whole = trained(None, byte_level(add_prefix_space=False, use_regex=False), corpus[1][:3])
    prefixed = Tokenizer(models.BPE())
    prefixed.pre_tokenizer = pre_tokenizers.Metaspace()
    for tokenizer in (whole, prefixed):
        assert not splits_first(tokenizer)
    with pytest.raises(LongDocumentError, match=r"can't be cut so .* at most 5,000 .*--max-whole"):
        encode_long("a b\n" * 2000, HuggingFaceEncoder(whole), 5000)


def test_one_endless_word_is_refused_by_place_and_skipped_on_request(tmp_path, tokenizer_dir, monkeypatch):
    monkeypatch.setattr(long_documents, "_PIECE", 3000)
    monkeypatch.setattr(long_documents, "_AHEAD", 400)
    write_jsonl(tmp_path / "a.jsonl", ["good", "QUJD" * 2000, "good"])
    arguments = (tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir, 2)
    with pytest.raises(ValueError, match=r"line 2.*8,000 characters.*--max-whole"):
        tstdata.prepare(*arguments, max_whole=5000)
    assert tstdata.prepare(*arguments, max_whole=5000, on_error="skip").card.num_rejected == 1
    out = tmp_path / "whole"
    assert tstdata.prepare(tmp_path / "a.jsonl", out, tokenizer_dir, 2).card.num_documents == 3


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory from /proc")
def test_a_document_of_30_mb_takes_little_memory_and_gives_the_ids_of_its_lines(
    tmp_path, corpus, tokenizer_dir, tokenizer
):
    lines = "\n".join(corpus[1]).split("\n")
    text = "\n".join(lines * (30_000_000 // sum(map(len, lines))))
    (tmp_path / "a.jsonl").write_bytes(orjson.dumps({"text": text}) + b"\n")
    # Not getrusage: on Linux its peak begins with the parent's.
    code = """
import re, sys, tstdata
card = tstdata.prepare(*sys.argv[1:4], 512, encoder=sys.argv[4]).card
print(card.num_tokens, int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""
    for encoder in ("fast", "reference"):
        arguments = [str(tmp_path / "a.jsonl"), str(tmp_path / encoder), str(tokenizer_dir), encoder]
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=True)
        num_tokens, peak = map(int, done.stdout.split())
        assert num_tokens == len(tokenizer.encode(text, add_special_tokens=False).ids) + 1
        print(f"{encoder}: {peak} MB")
        assert peak < 600
    shards = [sorted((tmp_path / one).glob("shard.*")) for one in ("fast", "reference")]
    assert [path.read_bytes() for path in shards[0]] == [path.read_bytes() for path in shards[1]]
