"""The head start: what is loaded from the file in the meantime stands in only for that very tokenizer."""

import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson
import pytest

from tstdata import fast_encoder, head_start
from tstdata.encoder import HuggingFaceEncoder
from tstdata.engine import EncoderSpec
from tstdata.fast_encoder import FastEncoder, choose_encoder, find_difference
from tstdata.head_start import HeadStart, load_fastokens, panics_as_errors
from tstdata.tokenizer import load_tokenizer
from tstdata.torture import torture_texts


def changed(tokenizer_dir, folder, change):
    """Returns a copy of a tokenizer whose config was changed."""
    shutil.copytree(tokenizer_dir, folder)
    path = folder / "tokenizer_config.json"
    config = orjson.loads(path.read_bytes())
    change(config)
    path.write_bytes(orjson.dumps(config))
    return folder


CONFIGS = {
    "as it is": (lambda config: None, True),
    "a token that only the config has": (lambda config: config.update(pad_token="<pad>"), False),
    "a token that only the config calls special": (lambda config: config.update(unk_token="def"), False),
    "a token listed once more": (lambda config: config.update(bos_token=config["eos_token"]), True),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_it_is_taken_only_where_the_added_tokens_are_the_files(tokenizer_dir, tmp_path, case):
    change, is_taken = CONFIGS[case]
    folder = changed(tokenizer_dir, tmp_path / "tokenizer", change)
    backend = load_tokenizer(folder).backend
    assert (HeadStart.of(str(folder)).take(backend) is not None) == is_taken
    encoder, warning = choose_encoder(backend, "fast", [], head_start=HeadStart.of(str(folder)))
    assert warning is None
    texts = [*torture_texts(backend), "<pad>def def<pad>"]
    for found, wanted in zip(
        encoder.encode_batch(texts), HuggingFaceEncoder(backend).encode_batch(texts), strict=True
    ):
        assert np.array_equal(found, wanted)


def test_what_fastokens_cannot_load_is_left_to_whoever_needs_it(tokenizer_dir, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(b'{"added_tokens": []}')
    backend = load_tokenizer(tokenizer_dir).backend
    assert HeadStart.of(str(tmp_path)).take(backend) is None
    encoder, warning = choose_encoder(backend, "auto", [], head_start=HeadStart.of(str(tmp_path)))
    assert (encoder.name, warning) == (fast_encoder.fast_name(), None)


def test_what_fastokens_cannot_load_of_the_reference_is_loaded_once(tokenizer_dir, monkeypatch):
    loaded = []

    def load(definition):
        loaded.append(definition)
        raise ValueError("no")

    monkeypatch.setattr(head_start, "load_fastokens", load)
    monkeypatch.setattr(fast_encoder, "load_fastokens", load)
    backend = load_tokenizer(tokenizer_dir).backend
    _, warning = choose_encoder(backend, "auto", [], head_start=HeadStart.of(str(tokenizer_dir)))
    assert "can't load this tokenizer (no)" in warning
    assert len(loaded) == 2  # The file's, in the meantime, and the reference's.


@pytest.mark.parametrize("name", ["ranks.tiktoken", "spiece.model", "none.json", "none"])
def test_without_a_tokenizer_json_there_is_none(tmp_path, name):
    if not name.startswith("none"):
        (tmp_path / name).write_bytes(b"")
    assert HeadStart.of(str(tmp_path / name)) is None


def test_a_tokenizer_that_cannot_be_used_leaves_no_thread(tokenizer_dir, tmp_path, monkeypatch):
    def slow(definition):
        time.sleep(1)
        raise ValueError

    monkeypatch.setattr(head_start, "load_fastokens", slow)
    shutil.copy(tokenizer_dir / "tokenizer.json", tmp_path)
    before = threading.active_count()
    with pytest.raises(ValueError, match="names no eos_token"):
        EncoderSpec(str(tmp_path), None, False, "auto", ()).load()
    assert threading.active_count() == before


def test_no_thread_is_left(tokenizer_dir):
    before = threading.active_count()
    started = HeadStart.of(str(tokenizer_dir))
    started.take(load_tokenizer(tokenizer_dir).backend)
    assert threading.active_count() == before


def test_a_file_that_means_something_else_to_fastokens_gives_way_to_the_references_text(
    tokenizer_dir, monkeypatch
):
    backend = load_tokenizer(tokenizer_dir).backend
    of_file = (tokenizer_dir / "tokenizer.json").read_text("utf-8")
    loaded = []

    def load(definition):
        loaded.append(definition)
        other = orjson.loads(definition)
        if definition == of_file:
            other["model"]["merges"] = other["model"]["merges"][:10]
        return load_fastokens(orjson.dumps(other).decode())

    monkeypatch.setattr(head_start, "load_fastokens", load)
    monkeypatch.setattr(fast_encoder, "load_fastokens", load)
    encoder, warning = choose_encoder(backend, "auto", [], head_start=HeadStart.of(str(tokenizer_dir)))
    assert (encoder.name, warning) == (fast_encoder.fast_name(), None)
    texts = torture_texts(backend)
    assert find_difference(encoder, texts, HuggingFaceEncoder(backend).encode_batch(texts)) is None
    assert loaded == [of_file, backend.to_str()]


def test_what_has_begun_does_not_begin_again(tokenizer_dir, monkeypatch):
    started = HeadStart.of(str(tokenizer_dir))
    monkeypatch.setattr(HeadStart, "of", None)
    loaded = EncoderSpec(str(tokenizer_dir), None, False, "auto", ()).load(started)
    assert loaded.head_start is started
    started.end()


def test_what_is_not_wanted_does_not_begin(tokenizer_dir):
    spec = EncoderSpec(str(tokenizer_dir), None, False, "reference", ())
    assert spec.fast_path == ""
    assert spec.load().head_start is None


class Panic(BaseException):
    """As those of Rust: no Exception."""


def panic(*_, **__):
    raise Panic("index out of bounds")


def test_a_panic_while_it_loads_is_as_any_failure(tokenizer_dir, monkeypatch):
    monkeypatch.setattr("fastokens.Tokenizer.from_json_str", panic)
    backend = load_tokenizer(tokenizer_dir).backend
    _, warning = choose_encoder(backend, "auto", [], head_start=HeadStart.of(str(tokenizer_dir)))
    assert "can't load this tokenizer (Panic: index out of bounds)" in warning


def test_a_panic_on_the_proof_is_as_any_difference(tokenizer_dir):
    backend = load_tokenizer(tokenizer_dir).backend
    broken = SimpleNamespace(encode_batch_flat=panic)
    fast = FastEncoder(backend, HuggingFaceEncoder(backend), broken)
    assert "fails on the texts of the proof (Panic: " in find_difference(fast, ["a"], ([], []))
    for end in (KeyboardInterrupt, SystemExit):
        with pytest.raises(end), panics_as_errors():
            raise end


def test_what_the_reference_cannot_encode_proves_nothing(tokenizer_dir):
    class Failing(HuggingFaceEncoder):
        def encode_batch(self, texts):
            raise Exception("no ids")

    backend = load_tokenizer(tokenizer_dir).backend
    reference = Failing(backend)
    for begun in (None, HeadStart.of(str(tokenizer_dir))):
        encoder, warning = choose_encoder(backend, "auto", [], reference, begun)
        assert encoder is reference
        assert "can't be held to the reference, which fails on the texts of the proof (no ids)" in warning


def test_a_path_that_cannot_be_read_gives_none(monkeypatch):
    def refuse(_):
        raise PermissionError

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert HeadStart.of("tokenizer") is None
