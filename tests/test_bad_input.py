"""Bad input is refused by file and place, and leaves nothing behind."""

import gzip
import os

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from bad_inputs import BAD, GOOD

import tstdata
from tstdata import tasks


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
    assert len(list((tmp_path / "out").glob(".prepare/task-*.done"))) >= 4 - (workers - 1)
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

    from tstdata import making

    tokenizer = tmp_path / "tokenizer"
    shutil.copytree(tokenizer_dir, tokenizer)
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    keep_request = making.keep_request

    def change_then_keep(*arguments):
        (tokenizer / "tokenizer_config.json").write_bytes(b'{"eos_token": "<|endoftext|>"}')
        keep_request(*arguments)

    monkeypatch.setattr(making, "keep_request", change_then_keep)
    with pytest.raises(ValueError, match="changed while it was in use"):
        tstdata.prepare(tmp_path / "a.jsonl", tmp_path / "out", tokenizer, 2)
    assert not (tmp_path / "out" / "dataset.json").exists()


@pytest.mark.parametrize(("name", "data", "words"), BAD.values(), ids=BAD.keys())
def test_skipped_input_is_listed_and_counted_and_good_input_beside_it_is_kept(
    tmp_path, tokenizer_dir, name, data, words
):
    (tmp_path / name).write_bytes(data)
    (tmp_path / "z.jsonl").write_bytes(GOOD * 3)
    out = tmp_path / "out"
    card = tstdata.prepare(
        [tmp_path / name, tmp_path / "z.jsonl"], out, tokenizer_dir, 2, on_error="skip"
    ).card
    rejects = [orjson.loads(line) for line in (out / "rejects.jsonl").read_bytes().splitlines()]
    assert card.num_rejected == len(rejects) >= 1
    assert {reject["path"] for reject in rejects} == {str(tmp_path / name)}
    assert "rejects.jsonl" in card.files
    assert card.sources[1].num_documents == 3
    assert tstdata.verify(out).ok
    (out / "rejects.jsonl").write_bytes(b"")
    assert [problem.file for problem in tstdata.verify(out).problems] == ["rejects.jsonl"]


def test_rejects_and_the_documents_between_them_are_the_same_for_any_cut_of_the_work(
    tmp_path, tokenizer_dir, monkeypatch
):
    lines = [b'{"text": "def good"}', b"{", b'{"text": 1}', b'{"text": "x"}', b'{"body": ""}', b'"\xff"']
    for number in range(4):
        (tmp_path / f"{number}.jsonl").write_bytes(b"\n".join(lines[number:] + lines) + b"\n")
    trees = []
    for workers, task_bytes, documents in ((1, 4 << 20, 1024), (2, 10, 1), (1, 150, 2)):
        monkeypatch.setattr(tasks, "_TASK_BYTES", task_bytes)
        monkeypatch.setattr(tasks, "_BATCH_DOCUMENTS", documents)
        out = tmp_path / f"out-{task_bytes}"
        # "Ġgood" is this text's second token: as end-of-text it makes the first line ambiguous.
        card = tstdata.prepare(
            f"{tmp_path}/*.jsonl", out, tokenizer_dir, 2, on_error="skip", eos_token="def", workers=workers
        ).card
        trees.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()})
        assert (card.num_documents, card.num_rejected) == (8, 34)
    assert trees[0] == trees[1] == trees[2]
    places = [orjson.loads(line)["place"] for line in (out / "rejects.jsonl").read_bytes().splitlines()]
    assert places[:10] == [1, 2, 3, 5, 6, 7, 8, 9, 11, 12]


def test_a_failed_run_goes_on_with_skip_and_a_skipping_one_does_not_pass_as_whole(tmp_path, tokenizer_dir):
    (tmp_path / "a.jsonl").write_bytes(GOOD + b"{\n" + GOOD)
    arguments = (tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir, 2)
    with pytest.raises(ValueError, match="line 2"):
        tstdata.prepare(*arguments)
    assert tstdata.prepare(*arguments, on_error="skip").card.num_rejected == 1
    with pytest.raises(ValueError, match="is finished and left out 1 documents"):
        tstdata.prepare(*arguments)


def test_the_table_of_bad_input_has_an_error_for_every_kind_and_nothing_left(capsys, monkeypatch):
    from pathlib import Path

    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import bad_input

    assert bad_input.main([]) == 0
    table = capsys.readouterr().out
    rows = table.splitlines()[2:]
    assert len(rows) == len(BAD) + len(bad_input.MORE)
    assert all(" | 2 | nothing | " in row and row.split(" | ")[1] for row in rows)
    assert "Traceback" not in table
