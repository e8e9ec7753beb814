"""What --dry-run says: close to what comes out, and nothing is written."""

import bz2
import gzip
import lzma
import random

import pytest
import zstandard
from test_prepare import write_jsonl
from tst_tools import cli
from written_sources import WRITERS, parquet_of

import tstdata
from tstdata import estimate, tasks


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_the_estimate_is_near_what_comes_out(tmp_path, tokenizer_dir, corpus, monkeypatch, compression):
    monkeypatch.setattr(estimate, "_SAMPLED_BYTES", 1 << 15)
    monkeypatch.setattr("tstdata.source_file._LOCAL_BYTES", 1 << 13)
    source = write_jsonl(tmp_path / "a.jsonl", corpus[1] * 5)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(source.read_bytes()))
    arguments = (tmp_path / "out", tokenizer_dir, 32)
    options = {"size_limit": 70_000, "compression": compression}
    sources = sorted(tmp_path.glob("?.jsonl*"))
    found = tstdata.prepare(sources, *arguments, **options, dry_run=True).estimate
    assert not (tmp_path / "out").exists()
    report = tstdata.prepare(sources, *arguments, **options)
    assert found.num_tokens == pytest.approx(report.card.num_tokens, rel=0.2)
    assert found.num_shards == pytest.approx(report.card.num_shards, rel=0.2)
    assert found.stored_bytes == pytest.approx(report.stored_bytes, rel=0.2)
    assert found.sampled_documents < report.card.num_documents


@pytest.mark.parametrize("name", [*WRITERS, "a.jsonl.gz", "a.csv.zst", "a.jsonl.bz2", "a.json.xz"])
@pytest.mark.parametrize("size", [1, 300, 40_000])
def test_the_estimate_of_even_documents_is_near_in_every_format(
    tmp_path, tokenizer_dir, name, size, monkeypatch
):
    monkeypatch.setattr(tasks, "_TASK_BYTES", 1 << 18)
    monkeypatch.setattr(estimate, "_SAMPLED_BYTES", 1 << 16)
    draw = random.Random(1)
    count = min(20_000, 4_000_000 // size)
    letters = "".join(draw.choices("abcdefgh \n", k=size + count))
    texts = [letters[at : at + size] for at in range(count)]
    stem, _, packed = name.rpartition(".") if name.count(".") > 1 else (name, "", "")
    write = {**WRITERS, "a.parquet": lambda texts: parquet_of(texts, 1000)}[stem]
    pack = {
        "": bytes,
        "gz": gzip.compress,
        "zst": zstandard.compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
    }
    source = tmp_path / name
    source.write_bytes(pack[packed](write(texts)))
    found = tstdata.prepare(source, tmp_path / "out", tokenizer_dir, 32, dry_run=True).estimate
    assert found.num_documents == pytest.approx(count, rel=0.1)
    assert found.sampled_documents <= count


def test_a_small_corpus_is_read_whole_and_told_exactly(tmp_path, tokenizer_dir):
    write_jsonl(tmp_path / "a.jsonl", ["one", "two words", "", "x"])
    out = tmp_path / "out"
    found = tstdata.prepare(tmp_path / "a.jsonl", out, tokenizer_dir, 2, dry_run=True, min_chars=2).estimate
    card = tstdata.prepare(tmp_path / "a.jsonl", out, tokenizer_dir, 2, min_chars=2).card
    assert (found.num_documents, found.num_tokens) == (card.num_documents, card.num_tokens)
    assert (found.num_rows, found.num_shards) == (card.num_rows, card.num_shards)


def test_the_plan_names_what_can_not_be_read(tmp_path, tokenizer_dir, capsys):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "good"}\n{"body": "x"}\n')
    command = ["prepare", str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "out")]
    command += ["--tokenizer", str(tokenizer_dir), "--seq-len", "2", "--dry-run"]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert "rejects    about 1; the first one" in out
    assert "line 2 (byte 17): no key 'text'; its keys are 'body'" in out
    for words in ("documents  about 1", "tokens     about", "disk       about", "time       about"):
        assert words in out
    assert not (tmp_path / "out").exists()


def test_an_empty_file_that_is_a_reject_is_counted(tmp_path, tokenizer_dir):
    write_jsonl(tmp_path / "a.jsonl", ["one", "two words"])
    (tmp_path / "b.csv").write_bytes(b"")
    found = tstdata.prepare(tmp_path, tmp_path / "out", tokenizer_dir, 2, dry_run=True).estimate
    assert (found.num_documents, found.num_rejects) == (2, 1)
    assert "b.csv is empty" in found.first_reject


def test_a_dry_run_refuses_what_the_run_would(tmp_path, tokenizer_dir):
    source, other = (
        write_jsonl(tmp_path / name, ["one", "two words"] * 9) for name in ("a.jsonl", "b.jsonl")
    )
    out = tmp_path / "out"
    tstdata.prepare(source, out, tokenizer_dir, 2)
    how = {"dry_run": True}
    for refused, error, words in (
        ({"out": tmp_path / "none", "append": True}, FileNotFoundError, "is no finished bag-shard dataset"),
        ({"seq_len": 4, "append": True}, ValueError, "can't be appended to: seq_len was 2, now 4"),
        ({"seq_len": 4}, ValueError, "of another recipe, tokenizer or source: seq_len was 2, now 4"),
        ({"sources": other}, ValueError, "of another recipe, tokenizer or source"),
    ):
        call = {"sources": source, "out": out, "tokenizer": tokenizer_dir, "seq_len": 2, **refused, **how}
        with pytest.raises(error, match=words):
            tstdata.prepare(**call)
    assert tstdata.prepare(other, out, tokenizer_dir, 2, append=True, **how).estimate.num_documents == 18
    assert not (tmp_path / "none").exists()
    assert not (out / ".append").exists()
