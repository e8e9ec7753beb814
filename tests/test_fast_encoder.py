"""The fast encoder: used only where it gives the reference's ids, and checked all through the job."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import BEGIN_OF_TEXT, END_OF_TEXT
from test_prepare import tree, write_jsonl
from tokenizers import Tokenizer, models, pre_tokenizers

import tstdata
from tstdata import spot_check
from tstdata.encoder import HuggingFaceEncoder
from tstdata.fast_encoder import FastEncoder, choose_encoder, find_difference
from tstdata.reading import Run
from tstdata.tokenizer import load_tokenizer
from tstdata.torture import torture_texts


@pytest.fixture
def backend(tokenizer_dir):
    return load_tokenizer(tokenizer_dir).backend


class Wrong:
    """An encoder that gives other ids for texts with a word."""

    batch_characters = 1 << 20

    def __init__(self, backend, word: str) -> None:
        self.name, self.word = "wrong 1.0", word
        self.reference = HuggingFaceEncoder(backend)

    def encode_batch(self, texts):
        return self.reference.encode_batch([text.replace(self.word, "") for text in texts])


def test_the_fast_encoder_gives_the_references_ids(backend, corpus):
    reference = HuggingFaceEncoder(backend)
    encoder, warning = choose_encoder(backend, "auto", corpus[1])
    assert encoder.name.startswith("fastokens ")
    assert warning is None
    texts = [*corpus[1], *torture_texts(backend)]
    for found, wanted in zip(encoder.encode_batch(texts), reference.encode_batch(texts), strict=True):
        assert np.array_equal(found, wanted)


def test_text_that_looks_special_is_text_to_the_fast_encoder(backend):
    ids, _ = FastEncoder(backend, HuggingFaceEncoder(backend)).encode_batch(
        [f"a{END_OF_TEXT}{BEGIN_OF_TEXT}"]
    )
    assert not set(ids.tolist()) & {0, 1}
    assert any(END_OF_TEXT in text for text in torture_texts(backend))


def difference(encoder, backend):
    texts = torture_texts(backend)
    return find_difference(encoder, texts, HuggingFaceEncoder(backend).encode_batch(texts))


@pytest.mark.parametrize("word", ["def", "\u0345", "\n\n", END_OF_TEXT])
def test_a_difference_on_the_torture_text_is_found(backend, word):
    assert difference(Wrong(backend, word), backend) is not None


class Forgetful:
    """An encoder that takes a text's blanks for those of the last text that began the same way."""

    def __init__(self, backend) -> None:
        self.name, self.reference = "forgetful 1.0", HuggingFaceEncoder(backend)

    def encode_batch(self, texts):
        before, given = "", []
        for text in texts:
            pairs = enumerate(zip(before, text, strict=False))
            same = next((index for index, (a, b) in pairs if a != b), min(len(before), len(text)))
            is_stale = same > 4096 and before[same - 1 : same + 1].isspace() is not text[same - 1 :].isspace()
            given.append(text[:same].rstrip() + text[same:] if is_stale else text)
            before = text
        return self.reference.encode_batch(given)


def test_an_encoder_that_mistakes_a_text_for_the_last_one_is_found(backend):
    assert difference(Forgetful(backend), backend) is not None


def test_the_fast_encoder_encodes_on_the_calling_thread(tokenizer_dir):
    """Workers are what uses the cores: each with threads of its own, they would be in one another's way."""
    code = f"""
import os
from tstdata.encoder import HuggingFaceEncoder
from tstdata.fast_encoder import FastEncoder
from tstdata.tokenizer import load_tokenizer
backend = load_tokenizer({str(tokenizer_dir)!r}).backend
encoder = FastEncoder(backend, HuggingFaceEncoder(backend))
before = len(os.listdir("/proc/self/task"))
encoder.encode_batch(["for all of them: " * 1000] * 100)
print(len(os.listdir("/proc/self/task")) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


@pytest.fixture
def wrong(monkeypatch, backend):
    """Makes the fast encoder one that is wrong on the word `zebra` alone, which no torture text has."""
    monkeypatch.setattr("tstdata.fast_encoder.FastEncoder", lambda *_: Wrong(backend, "zebra"))
    monkeypatch.setattr("tstdata.fast_encoder.fast_name", lambda: "wrong 1.0")


def test_a_difference_on_a_document_of_the_corpus_falls_back_with_a_warning(
    tmp_path, tokenizer_dir, wrong, backend
):
    write_jsonl(tmp_path / "a.jsonl", ["a zebra", "b"])
    with pytest.warns(UserWarning, match="wrong 1.0 gives other ids .* 'a zebra': using the reference"):
        card = tstdata.prepare(tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir, 2).card
    assert card.versions["encoder"].startswith("tokenizers ")
    with pytest.raises(ValueError, match="Leave out --encoder fast"):
        tstdata.prepare(tmp_path / "a.jsonl", tmp_path / "2", tokenizer_dir, 2, encoder="fast")


def test_a_tokenizer_that_the_fast_encoder_refuses_falls_back_with_a_warning(tmp_path):
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="b"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    encoder, warning = choose_encoder(words, "auto", [])
    assert encoder.reference is None
    assert "can't load this tokenizer" in warning


def test_the_spot_check_fails_the_job_naming_the_document_and_a_rerun_with_the_reference_redoes_all(
    tmp_path, tokenizer_dir, wrong, monkeypatch
):
    monkeypatch.setattr(spot_check, "_ONE_IN", 2)
    monkeypatch.setattr("tstdata.sample._MOST_TASKS", 1)  # The proof sees the beginning alone.
    texts = ["fine"] * 5 + [f"zebra {number}" for number in range(60)]
    write_jsonl(tmp_path / "a.jsonl", ["fine"] * 500)
    write_jsonl(tmp_path / "b.jsonl", texts)
    monkeypatch.setattr("tstdata.tasks._TASK_BYTES", 1000)
    arguments = ([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "out", tokenizer_dir, 4)
    with pytest.raises(
        ValueError, match=r"b\.jsonl line \d+: wrong 1\.0 gives other ids.*--encoder reference"
    ):
        tstdata.prepare(*arguments)
    assert any((tmp_path / "out" / ".prepare").glob("task-*.done"))
    card = tstdata.prepare(*arguments, encoder="reference").card
    assert card.versions["encoder"].startswith("tokenizers ")


def test_about_one_document_in_a_thousand_is_checked_whatever_the_batches(backend):
    class Recording(HuggingFaceEncoder):
        def encode_batch(self, texts):
            seen[-1] += texts
            return super().encode_batch(texts)

    right = Wrong(backend, "no such word")
    right.reference = Recording(backend)
    texts = [str(number) for number in range(20_000)]
    seen: list[list[str]] = []
    for size in (20_000, 77):
        seen.append([])
        for start in range(0, len(texts), size):
            batch = texts[start : start + size]
            ids, lengths = HuggingFaceEncoder(backend).encode_batch(batch)
            places = list(range(start, start + len(batch)))
            assert spot_check.check_batch(right, Run(places, batch), ids, lengths, (3, 0)) is None
    assert seen[0] == seen[1]
    assert 10 <= len(seen[0]) <= 35


def test_the_spot_check_looks_inside_long_documents(backend, monkeypatch):
    monkeypatch.setattr(spot_check, "_ONE_IN", 1)
    wrong = Wrong(backend, "zebra")
    text = "zebra " * 5000
    ids, lengths = wrong.encode_batch(["a", text])
    assert spot_check.check_batch(wrong, Run([1, 2], ["a", text]), ids, lengths, (0, 0)) == 1


def test_shards_are_the_same_whichever_encoder_made_them(tmp_path, corpus, tokenizer_dir):
    trees, cards = [], []
    for encoder in ("fast", "reference"):
        out = tmp_path / encoder
        cards.append(tstdata.prepare(corpus[0], out, tokenizer_dir, 32, encoder=encoder).card)
        trees.append({name: data for name, data in tree(out).items() if name != "dataset.json"})
    assert trees[0] == trees[1]
    assert [card.versions["encoder"].split()[0] for card in cards] == ["fastokens", "tokenizers"]
