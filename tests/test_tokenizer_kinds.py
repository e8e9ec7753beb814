"""SentencePiece models, tiktoken ranks and hub names: ids of the library's own, end-of-text asked for."""

import base64
import io
import json
import random
import shutil

import pytest
import sentencepiece
import tiktoken
from test_append import ids_of
from test_prepare import tree, write_jsonl
from tokenizers import Tokenizer
from tst_tools import cli

import tstdata
from tstdata import converting, fast_encoder, hub, spot_check
from tstdata.identity import PROBE
from tstdata.inspection import inspect_row
from tstdata.library_tokenizers import TiktokenTokenizer
from tstdata.tokenizer import load_tokenizer
from tstdata.torture import torture_texts

# What ByteLevel splits by, as tiktoken writes it.
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
EOT = "<|endoftext|>"


@pytest.fixture(scope="module")
def spm(corpus, tmp_path_factory):
    """A small SentencePiece model with byte fallback."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in corpus[1] for line in text.splitlines()),
        model_writer=model,
        vocab_size=600,
        byte_fallback=True,
        model_type="bpe",
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp("spm") / "tokenizer.model"
    path.write_bytes(model.getvalue())
    return path


@pytest.fixture(scope="module")
def ranks(tokenizer_dir, tmp_path_factory):
    """The small tokenizer's merges as tiktoken's ranks, with a hole before the special token's id."""
    backend = Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))
    to_byte = {character: bytes([byte]) for byte, character in enumerate(converting_characters())}
    tokens = sorted(backend.get_vocab().items(), key=lambda item: item[1])[2:]
    path = tmp_path_factory.mktemp("ranks") / "small.tiktoken"
    lines = []
    for rank, (token, _) in enumerate(tokens):
        data = b"".join(to_byte[character] for character in token)
        lines.append(base64.b64encode(data) + b" " + str(rank).encode())
    path.write_bytes(b"\n".join(lines) + b"\n")
    fields = {"pattern": PATTERN, "special_tokens": {EOT: len(tokens) + 5}, "eos_token": EOT}
    path.with_suffix(".json").write_text(json.dumps(fields))
    return path


def converting_characters() -> list[str]:
    from tstdata.library_tokenizers import as_text

    return [as_text(bytes([byte])) for byte in range(256)]


def test_sentencepiece_ids_are_the_librarys_own(spm, corpus, tmp_path):
    texts = [*corpus[1], "</s> is text, <s> too", "", "\u2603 \U0001f600\0"]
    source = write_jsonl(tmp_path / "a.jsonl", texts)
    report = tstdata.prepare(source, tmp_path / "out", spm, 32)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(spm))
    assert ids_of(tmp_path / "out") == [
        one for text in texts for one in [*processor.encode(text), processor.eos_id()]
    ]
    identity = report.card.tokenizer
    assert (identity.eos_token, identity.eos_id, identity.vocab_size) == ("</s>", processor.eos_id(), 600)
    assert list(identity.files) == ["tokenizer.model"]
    assert "sentencepiece" in report.card.parts[0].versions["encoder"]
    assert tstdata.verify(tmp_path / "out", sources=20).ok
    assert "</s>" in inspect_row(tmp_path / "out", report.card.num_rows - 1).text


def test_tiktoken_ids_are_tiktokens_own_in_either_form(ranks, corpus, tmp_path, monkeypatch):
    texts = [*corpus[1], f"{EOT} is text", PROBE, ""]
    source = write_jsonl(tmp_path / "a.jsonl", texts)
    own = TiktokenTokenizer(ranks)
    eot = own.special[EOT]
    expected = [one for text in texts for one in [*own.encode_texts([text])[0], eot]]
    assert isinstance(load_tokenizer(ranks).backend, Tokenizer)
    converted = tstdata.prepare(source, tmp_path / "converted", ranks, 32)
    assert ids_of(tmp_path / "converted") == expected
    monkeypatch.setattr(converting, "torture_texts", lambda _: ["unlike"])
    monkeypatch.setattr(converting, "same_ids", lambda *_: False)
    library = tstdata.prepare(source, tmp_path / "library", ranks, 32)
    assert "tiktoken" in library.card.parts[0].versions["encoder"]
    assert "tiktoken" not in converted.card.parts[0].versions["encoder"]
    assert ids_of(tmp_path / "library") == expected
    assert converted.card.tokenizer == library.card.tokenizer
    assert sorted(library.card.tokenizer.files) == ["small.json", "small.tiktoken"]


def test_converted_ranks_agree_with_tiktoken_on_torture_and_decode_alike(ranks):
    own, backend = TiktokenTokenizer(ranks), load_tokenizer(ranks).backend
    assert converting.same_ids(own, backend, list(torture_texts(backend)))
    ids = own.encode_texts([PROBE])[0]
    encoding = tiktoken.Encoding("x", pat_str=PATTERN, mergeable_ranks=own.ranks, special_tokens=own.special)
    assert backend.decode(ids) == own.decode(ids) == encoding.decode(ids)
    assert own.decode([own.special[EOT]], skip_special_tokens=False) == EOT
    assert backend.get_vocab() == own.get_vocab()


def test_converted_ranks_join_any_two_tokens_that_are_a_third(ranks):
    own, backend = TiktokenTokenizer(ranks), load_tokenizer(ranks).backend
    draw = random.Random(3)
    # Words put together of tokens as no training text did.
    letters = [token.decode() for token in own.ranks if token.isalpha()]
    words = ["".join(draw.choices(letters, k=draw.randint(2, 6))) for _ in range(20_000)]
    assert converting.same_ids(own, backend, words)


def test_converted_ranks_are_held_to_tiktokens_ids(ranks, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(converting, "same_ids", lambda *_: True)
    monkeypatch.setattr(converting, "_cuts", lambda *_: [])
    source = write_jsonl(tmp_path / "a.jsonl", corpus[1][:9])
    with pytest.warns(UserWarning, match="other ids than the reference .* using the reference, tiktoken"):
        tstdata.prepare(source, tmp_path / "out", ranks, 32)
    own = TiktokenTokenizer(ranks)
    eot = own.special[EOT]
    expected = [one for text in corpus[1][:9] for one in [*own.encode_texts([text])[0], eot]]
    assert ids_of(tmp_path / "out") == expected


def test_the_spot_check_compares_with_tiktoken(ranks, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(spot_check, "_ONE_IN", 1)
    monkeypatch.setattr(fast_encoder, "find_difference", lambda *_: None)
    monkeypatch.setattr(converting, "same_ids", lambda *_: True)
    monkeypatch.setattr(converting, "_cuts", lambda *_: [])
    source = write_jsonl(tmp_path / "a.jsonl", corpus[1][:9])
    with pytest.raises(ValueError, match=r"line 1: fastokens .* gives other ids than the reference encoder"):
        tstdata.prepare(source, tmp_path / "out", ranks, 32)


def test_ranks_that_split_unlike_are_not_converted(ranks, tmp_path):
    shutil.copytree(ranks.parent, tmp_path / "r")
    fields = json.loads(ranks.with_suffix(".json").read_text())
    fields["pattern"] = r"\p{L}{1,3}+|\p{N}{1,2}|[^\p{L}\p{N}]"
    (tmp_path / "r" / "small.json").write_text(json.dumps(fields))
    loaded = load_tokenizer(tmp_path / "r")
    own = TiktokenTokenizer(tmp_path / "r" / "small.tiktoken")
    if isinstance(loaded.backend, Tokenizer):
        assert converting.same_ids(own, loaded.backend, [PROBE])
    else:
        assert loaded.backend.encode_texts([PROBE]) == own.encode_texts([PROBE])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("no sidecar", r"small\.json does not exist. Ranks alone do not tell the pattern"),
        ("no eos", r"names no eos_token, and it is never guessed: give --eos-token"),
        ("bad rank", r"small\.tiktoken line 2 is no rank"),
        ("bad form", r"small\.json must be of the form"),
        ("bad pattern", r"small\.tiktoken can't be used by tiktoken"),
    ],
)
def test_what_ranks_do_not_tell_is_asked_for(ranks, tmp_path, change, words):
    folder = shutil.copytree(ranks.parent, tmp_path / "r")
    path, sidecar = folder / "small.tiktoken", folder / "small.json"
    fields = json.loads(sidecar.read_text())
    if change == "no sidecar":
        sidecar.unlink()
    elif change == "no eos":
        sidecar.write_text(json.dumps({**fields, "eos_token": None}))
    elif change == "bad rank":
        path.write_bytes(b"YQ== 0\nYg==\n")
    elif change == "bad form":
        sidecar.write_text('{"pattern": 1}')
    else:
        sidecar.write_text(json.dumps({**fields, "pattern": "("}))
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        load_tokenizer(path)


def test_a_broken_model_and_a_missing_library_are_named(spm, tmp_path, monkeypatch):
    (tmp_path / "bad.model").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"bad\.model can't be read as a SentencePiece model"):
        load_tokenizer(tmp_path / "bad.model")
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    with pytest.raises(ValueError, match=r"pip install 'tst-toolkit\[sentencepiece\]'"):
        load_tokenizer(spm)


def test_a_hub_name_is_fetched_through_the_hub_and_offline_is_said_clearly(
    tokenizer_dir, small_dataset, corpus, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    command = ["prepare", str(corpus[0]), "--out", "out", "--seq-len", "32", "--tokenizer", "owner/none"]
    assert cli.main(command) == 2
    assert "owner/none is no local path, and could not be had from the hub" in capsys.readouterr().err
    asked = []

    def snapshot_download(name, allow_patterns):
        asked.append((name, "tokenizer.json" in allow_patterns))
        return str(tokenizer_dir)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    tstdata.prepare(corpus[0], tmp_path / "out", "owner/name", 32, size_limit=70_000)
    assert asked == [("owner/name", True)]
    assert tree(tmp_path / "out") == tree(small_dataset)


@pytest.mark.parametrize(
    ("path", "is_name"),
    [
        *(("gpt2", True), ("org/llama-3.1", True), ("./gpt2", False), ("/a/b", False), ("a/b/c", False)),
        *(("tokenizer.json", False), ("a/x.model", False), ("..", False)),
    ],
)
def test_only_what_can_be_a_hub_name_is_taken_for_one(path, is_name):
    assert hub.is_hub_name(path) == is_name
