"""Tokenizers: text is encoded as text, end-of-text is never guessed, and two unlike ones are told apart."""

import shutil
import string
from pathlib import Path

import orjson
import pytest
from conftest import BEGIN_OF_TEXT, END_OF_TEXT
from test_prepare import write_jsonl
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer

import tstdata
from tstdata.encoder import HuggingFaceEncoder
from tstdata.identity import PROBE, check_same_tokenizer, identify
from tstdata.tokenizer import load_tokenizer


def encode(loaded, text: str) -> list[int]:
    ids, lengths = HuggingFaceEncoder(loaded.backend).encode_batch([text])
    assert lengths.tolist() == [len(ids)]
    return ids.tolist()


def changed_copy(tokenizer_dir: Path, out: Path, config: dict, change=lambda tokenizer: None) -> Path:
    shutil.copytree(tokenizer_dir, out)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    change(tokenizer)
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_bytes(orjson.dumps(config))
    return out


def test_text_that_looks_like_a_special_token_is_encoded_as_text(tokenizer_dir):
    loaded = load_tokenizer(tokenizer_dir)
    special = {loaded.backend.token_to_id(END_OF_TEXT), loaded.backend.token_to_id(BEGIN_OF_TEXT)}
    ids = encode(loaded, f"a{END_OF_TEXT}b {BEGIN_OF_TEXT}")
    assert not special & set(ids)
    assert loaded.backend.decode(ids) == f"a{END_OF_TEXT}b {BEGIN_OF_TEXT}"


def test_an_added_token_that_is_not_special_stays_a_word_of_the_vocabulary(tokenizer_dir, tmp_path):
    # As in GPT-NeoX, whose runs of blanks are such tokens: other ids would be other text to the model.
    config = {"eos_token": END_OF_TEXT}
    path = changed_copy(tokenizer_dir, tmp_path / "t", config, lambda t: t.add_tokens([AddedToken("    ")]))
    loaded = load_tokenizer(path)
    assert loaded.backend.token_to_id("    ") in encode(loaded, "if x:    y")


@pytest.mark.parametrize("where", ["eos_token", "additional_special_tokens", "added_tokens_decoder"])
def test_a_token_that_only_the_config_calls_special_is_encoded_as_text(tokenizer_dir, tmp_path, where):
    config = {"eos_token": END_OF_TEXT}
    number = Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json")).get_vocab_size()
    config |= {
        "eos_token": {"eos_token": "<end>"},
        "additional_special_tokens": {"additional_special_tokens": ["<end>"]},
        "added_tokens_decoder": {
            "added_tokens_decoder": {str(number): {"content": "<end>", "special": True}}
        },
    }[where]
    path = changed_copy(
        tokenizer_dir, tmp_path / "t", config, lambda t: t.add_tokens([AddedToken("<end>", special=False)])
    )
    loaded = load_tokenizer(path)
    end = loaded.backend.token_to_id("<end>")
    assert end == number
    assert end not in encode(loaded, "the <end> is near")


def test_a_given_end_of_text_is_encoded_as_text_too(tokenizer_dir, tmp_path):
    path = changed_copy(
        tokenizer_dir, tmp_path / "t", {}, lambda t: t.add_tokens([AddedToken("<end>", special=False)])
    )
    loaded = load_tokenizer(path, eos_token="<end>")
    assert loaded.identity.eos_token == "<end>"
    assert loaded.identity.eos_id not in encode(loaded, "the <end> is near")


def test_truncation_and_padding_in_the_file_are_switched_off(tokenizer_dir, tmp_path):
    def cut(tokenizer: Tokenizer) -> None:
        tokenizer.enable_truncation(4)
        tokenizer.enable_padding(length=64, pad_id=3, pad_token="x")

    path = changed_copy(tokenizer_dir, tmp_path / "t", {"eos_token": END_OF_TEXT}, cut)
    text = "one two three four five six seven eight"
    assert encode(load_tokenizer(path), text) == encode(load_tokenizer(tokenizer_dir), text)


@pytest.mark.parametrize("eos", [END_OF_TEXT, {"content": END_OF_TEXT, "__type": "AddedToken"}])
@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_end_of_text_is_found_in_the_tokenizers_own_config(tokenizer_dir, tmp_path, eos, name):
    shutil.copy(tokenizer_dir / "tokenizer.json", tmp_path)
    (tmp_path / name).write_bytes(orjson.dumps({"eos_token": eos}))
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        assert load_tokenizer(path).identity.eos_id == 0


def test_end_of_text_is_asked_for_when_no_config_names_it(tokenizer_dir, tmp_path):
    shutil.copy(tokenizer_dir / "tokenizer.json", tmp_path)
    with pytest.raises(ValueError, match="never guessed: give --eos-token"):
        load_tokenizer(tmp_path)
    assert load_tokenizer(tmp_path, eos_token=END_OF_TEXT).identity.eos_id == 0
    with pytest.raises(ValueError, match="'<nope>' is not in the vocabulary"):
        load_tokenizer(tmp_path, eos_token="<nope>")


def test_begin_and_end_of_text_must_differ(tokenizer_dir, tmp_path):
    config = {"eos_token": END_OF_TEXT, "bos_token": END_OF_TEXT}
    path = changed_copy(tokenizer_dir, tmp_path / "t", config)
    with pytest.raises(ValueError, match="the same token"):
        load_tokenizer(path, bos=True)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no tokenizer.json"),
        ({"tokenizer.json": "{"}, "can't be read as a Hugging Face tokenizer"),
        ({"tokenizer.json": None, "tokenizer_config.json": "{"}, "tokenizer_config.json is not JSON"),
        ({"tokenizer.json": None, "tokenizer_config.json": "[]"}, "a tokenizer config is an object"),
        *(
            (
                {"tokenizer.json": None, "tokenizer_config.json": config},
                "tokens in its .* can't be understood",
            )
            for config in (
                '{"eos_token": ["<|endoftext|>"]}',
                '{"added_tokens_decoder": [1]}',
                '{"added_tokens_decoder": {"zero": {"content": "a"}}}',
            )
        ),
    ],
)
def test_a_tokenizer_that_can_not_be_read_is_refused(tokenizer_dir, tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / name).write_text((tokenizer_dir / name).read_text() if text is None else text)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        load_tokenizer(tmp_path)


CONFIGS = {
    "plain": {"eos_token": END_OF_TEXT},
    "tokens only in the config": {"eos_token": END_OF_TEXT, "pad_token": "<pad>", "unk_token": "<unk>"},
    "additional special tokens": {
        "eos_token": END_OF_TEXT,
        "pad_token": {"content": "<pad>", "__type": "AddedToken", "special": True},
        "additional_special_tokens": ["<tool>", "<call>"],
    },
    "added tokens with ids": {
        "eos_token": "<new end>",
        "added_tokens_decoder": {
            "0": {"content": END_OF_TEXT, "special": True},
            "1024": {"content": "<word>", "special": False},
            "1025": {"content": "<new end>", "special": True},
        },
    },
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_identity_equals_that_of_the_transformers_tokenizer(tokenizer_dir, tmp_path, config):
    config = {**config, "tokenizer_class": "PreTrainedTokenizerFast"}
    path = changed_copy(tokenizer_dir, tmp_path / "t", config)
    loaded, theirs = load_tokenizer(path), AutoTokenizer.from_pretrained(path)
    assert identify(loaded.backend) == identify(theirs)
    assert loaded.identity.eos_id == theirs.eos_token_id
    check_same_tokenizer(loaded.identity, theirs)


def test_unlike_tokenizers_are_told_apart(tokenizer_dir, tmp_path):
    expected = load_tokenizer(tokenizer_dir).identity
    more = Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))
    more.add_tokens(["another"])
    with pytest.raises(ValueError, match=r"vocabulary \(1025 ids.*not the card's \(1024 ids"):
        check_same_tokenizer(expected, more)
    split = Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))
    split.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    with pytest.raises(ValueError, match="same vocabulary, but it cuts a test text into other ids"):
        check_same_tokenizer(expected, split)


def test_vocab_size_is_one_more_than_the_highest_id():
    holed = Tokenizer(models.WordLevel({"a": 0, "b": 9}, unk_token="a"))
    assert identify(holed)["vocab_size"] == 10


def letters_only(folder: Path, letters: str) -> Path:
    """A tokenizer that has ids for some characters and no unknown token."""
    pieces = [("<eot>", -1.0), ("\u2581", -1.0), *((letter, -1.0) for letter in sorted(set(letters) - {" "}))]
    tokenizer = Tokenizer(models.Unigram(pieces))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_tokenizer_that_has_no_ids_for_many_texts_is_refused(tmp_path):
    tokenizer = letters_only(tmp_path / "t", string.printable)
    with pytest.raises(ValueError, match=r"fails on a text of many scripts .*unk_id.* unknown token"):
        load_tokenizer(tokenizer, "<eot>")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_text_without_ids_is_a_bad_document(tmp_path, workers, monkeypatch):
    tokenizer = letters_only(tmp_path / "t", PROBE + string.printable)
    texts = [["plain words"] * 4, ["plain", "\u1230 words", "words"]]
    sources = [write_jsonl(tmp_path / f"{n}.jsonl", some) for n, some in enumerate(texts)]
    monkeypatch.setattr("tstdata.tasks._TASK_BYTES", 1)
    arguments = (sources, tmp_path / "out", tokenizer, 8)
    with (
        pytest.warns(UserWarning, match="using the reference"),
        pytest.raises(ValueError, match=r"1\.jsonl line 2: .* has no ids for it \(Exception: .*unk_id"),
    ):
        tstdata.prepare(*arguments, eos_token="<eot>", workers=workers)
    with pytest.warns(UserWarning, match="using the reference"):
        report = tstdata.prepare(*arguments, eos_token="<eot>", workers=workers, on_error="skip")
    assert (report.card.num_documents, report.card.num_rejected) == (6, 1)
    (reject,) = map(orjson.loads, (tmp_path / "out" / "rejects.jsonl").read_bytes().splitlines())
    assert (reject["path"], reject["place"]) == (str(sources[1]), 2)
