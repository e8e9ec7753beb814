"""Bad input is refused by file and place, and leaves nothing behind."""

import gzip
import os

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import tstdata
from tstdata import tasks

GOOD = b'{"text": "good"}\n'


def parquet(columns: dict) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def bad_utf8_parquet() -> bytes:
    texts = pa.array([b"good", b"\xff\xfe"], pa.binary())
    return parquet({"text": pa.Array.from_buffers(pa.string(), 2, texts.buffers())})


LINES = GOOD * 4000
GZ, ZST = gzip.compress(os.urandom(9) + LINES), zstandard.compress(LINES)

BAD = {
    "broken JSON": ("a.jsonl", GOOD + b'{"text": "x"', r"line 2 \(byte 17\): broken JSON at column \d+"),
    "empty object": ("a.jsonl", GOOD + b"{}\n", "line 2 .*no key 'text'; its keys are none"),
    "missing key": (
        "a.jsonl",
        b'{"body": "x", "id": 1}\n',
        "line 1 .*no key 'text'; its keys are 'body', 'id'",
    ),
    "wrong type": ("a.jsonl", GOOD + b'{"text": 7}\n', "line 2 .*the key 'text' holds a number"),
    "null": ("a.jsonl", b'{"text": null}\n', "line 1 .*the key 'text' holds null"),
    "not an object": ("a.jsonl", b'["x"]\n', "line 1 .*holds a list"),
    "bytes in JSON": ("a.jsonl", GOOD + b'{"text": "\xff"}\n', "line 2 .*not UTF-8 at byte 10"),
    "lone surrogate": ("a.jsonl", b'{"text": "\\ud800"}\n', "line 1 .*broken JSON"),
    "byte order mark": ("a.jsonl", b"\xef\xbb\xbf" + GOOD, "line 1 .*broken JSON"),
    "bytes in text": ("a.txt", b"good \xff", r"a\.txt byte 0: not UTF-8 at byte 5"),
    "cut-off gz": ("a.jsonl.gz", gzip.compress(LINES)[:-9], "is cut off: its gzip stream does not end"),
    "empty gz": ("a.jsonl.gz", b"", "is cut off"),
    "damaged gz": ("a.txt.gz", GZ[:40] + b"\0\0\0\0" + GZ[44:], "is not valid gzip near byte|not UTF-8"),
    "no gz": ("a.jsonl.gz", GOOD, "is not valid gzip near byte 0"),
    "cut-off zst": ("a.jsonl.zst", ZST[:-5], "is cut off: its zstd stream does not end"),
    "empty zst": ("a.txt.zst", b"", "is cut off"),
    "no zst": ("a.jsonl.zst", GOOD, "is not valid zstd near byte 0"),
    "no parquet": ("a.parquet", b"PAR1 no", "can't be read as parquet"),
    "cut-off parquet": ("a.parquet", parquet({"text": ["a"] * 99})[:-30], "can't be read as parquet"),
    "missing column": ("a.parquet", parquet({"body": ["a"], "n": [1]}), "no column 'text'; .*'body', 'n'"),
    "wrong column": ("a.parquet", parquet({"text": [1, 2]}), "has int64 in the column 'text'"),
    "null in parquet": ("a.parquet", parquet({"text": ["a", None]}), "row 1: the text is null"),
    "bytes in parquet": ("a.parquet", bad_utf8_parquet(), "row 1: not UTF-8 at byte 0"),
}


@pytest.mark.parametrize(("name", "data", "words"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_by_file_and_place(tmp_path, tokenizer_dir, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=words) as refusal:
        tstdata.prepare(tmp_path / name, tmp_path / "out", tokenizer_dir, 2)
    assert str(tmp_path / name) in str(refusal.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_input_after_finished_tasks_keeps_them_but_looks_unfinished(
    tmp_path, tokenizer_dir, monkeypatch, workers
):
    monkeypatch.setattr(tasks, "_TASK_BYTES", 10)
    for number in range(4):
        (tmp_path / f"{number}.jsonl").write_bytes(GOOD)
    (tmp_path / "9.jsonl").write_bytes(b"{")
    with pytest.raises(ValueError, match=r"9\.jsonl line 1"):
        tstdata.prepare(f"{tmp_path}/*.jsonl", tmp_path / "out", tokenizer_dir, 2, workers=workers)
    assert os.listdir(tmp_path / "out") == [".prepare"]
    # Every other worker may have been at work on an earlier task when the bad one failed.
    assert len(list((tmp_path / "out").glob(".prepare/task-*.json"))) >= 4 - (workers - 1)
    assert not list((tmp_path / "out").rglob("*.tmp")) or workers == 2


def test_streams_joined_in_one_compressed_file_are_read_to_the_end(tmp_path, tokenizer_dir, tokenizer):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(GOOD) + gzip.compress(GOOD * 2) + b"\0" * 512)
    (tmp_path / "b.jsonl.zst").write_bytes(zstandard.compress(GOOD) + zstandard.compress(GOOD * 4))
    report = tstdata.prepare([*sorted(tmp_path.glob("*.jsonl.*"))], tmp_path / "out", tokenizer_dir, 2)
    assert [source.num_documents for source in report.card.sources] == [3, 5]


@pytest.mark.parametrize("size", [1, 5, 4096])
def test_lines_are_the_same_however_the_file_is_read(tmp_path, monkeypatch, size):
    from tstdata import source_file
    from tstdata.documents import read_documents
    from tstdata.sources import find_sources

    monkeypatch.setattr(source_file, "_LOCAL_BYTES", size)
    texts = ["a", "", "line\nbreak", "é\u2028\x85", "x" * 50]
    data = b"\n".join(orjson.dumps({"text": text}) for text in texts)
    for name, written in (("a.jsonl", data), ("b.jsonl.gz", gzip.compress(data)), ("c.jsonl", data + b"\n")):
        (tmp_path / name).write_bytes(written)
        (source,) = find_sources(tmp_path / name)
        assert [tuple(document) for document in read_documents(source)] == list(enumerate(texts, 1))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_texts_of_every_string_type_are_read(tmp_path, kind):
    from tstdata.documents import read_documents
    from tstdata.sources import find_sources

    texts = ["a", "b", "", "a"] * 200
    pq.write_table(
        pa.table({"n": range(800), "text": pa.array(texts, pa.string()).cast(kind)}), tmp_path / "a.parquet"
    )
    (source,) = find_sources(tmp_path / "a.parquet")
    assert [tuple(document) for document in read_documents(source)] == list(enumerate(texts))


def test_a_tokenizer_that_changes_during_the_run_is_refused(tmp_path, tokenizer_dir, monkeypatch):
    import shutil

    from tstdata import preparation

    tokenizer = tmp_path / "tokenizer"
    shutil.copytree(tokenizer_dir, tokenizer)
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    hash_sources = preparation._identify

    def change_then_hash(*arguments):
        (tokenizer / "tokenizer_config.json").write_bytes(b'{"eos_token": "<|endoftext|>"}')
        return hash_sources(*arguments)

    monkeypatch.setattr(preparation, "_identify", change_then_hash)
    with pytest.raises(ValueError, match="changed while it was in use"):
        tstdata.prepare(tmp_path / "a.jsonl", tmp_path / "out", tokenizer, 2)
    assert not (tmp_path / "out" / "dataset.json").exists()
