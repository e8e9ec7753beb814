"""The sample: documents from all over the corpus, however it is cut into files; and what is read for it."""

import gzip

import orjson
import pytest
from test_prepare import write_jsonl

from tstdata import tasks
from tstdata.documents import read_documents
from tstdata.sample import sample_texts
from tstdata.sources import find_sources
from tstdata.tasks import cut_tasks


def sampled(path):
    return sample_texts(cut_tasks(tuple(find_sources([path]))))


def texts_of(number):
    return [f"document {index} {'x' * 60}" for index in range(number)]


def test_one_file_that_cannot_be_cut_gives_its_first_documents(tmp_path):
    lines = b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts_of(100))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    assert sampled(tmp_path) == tuple(texts_of(32))


def test_small_files_that_share_a_task_give_a_document_each(tmp_path):
    for number, text in enumerate(texts_of(100)):
        (tmp_path / f"{number:03}.txt").write_text(text)
    assert sampled(tmp_path) == tuple(texts_of(32))


@pytest.mark.parametrize("num_tasks", [2, 15, 16, 17, 31, 32, 33, 100])
def test_many_tasks_are_sampled_from_the_first_to_the_last_sixteenth(tmp_path, monkeypatch, num_tasks):
    for number in range(num_tasks):
        write_jsonl(tmp_path / f"{number:03}.jsonl", [f"{number:03} {index}" for index in range(40)])
    monkeypatch.setattr(tasks, "_TASK_BYTES", (tmp_path / "000.jsonl").stat().st_size)
    found = sampled(tmp_path)
    assert 32 <= len(set(found)) == len(found) <= 64
    taken = sorted({int(text.split()[0]) for text in found})
    assert taken[0] == 0
    assert len(taken) <= 16
    widest = max(second - first for first, second in zip(taken, [*taken[1:], num_tasks], strict=True))
    assert widest <= -(-num_tasks // 8)


def test_what_is_no_document_is_passed_over(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'nonsense\n{"text": 1}\n{"text": "one"}\n')
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "lost"}\n')[:-9])
    write_jsonl(tmp_path / "c.jsonl", ["two"])
    assert [text for text in sampled(tmp_path) if text != "lost"] == ["one", "two"]


def test_of_long_documents_the_beginnings_of_only_as_many_as_make_a_million_characters(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [f"{number}{'x' * 400_000}" for number in range(18)])
    found = sampled(tmp_path)
    assert [text[0] for text in found] == ["0", "1", "2"]
    assert {len(text) for text in found} == {2048}


def test_of_a_file_without_documents_no_more_is_read_than_of_another(tmp_path, monkeypatch):
    read = []

    def counting(*arguments, **how):
        for found in read_documents(*arguments, **how):
            read.append(found)
            yield found

    monkeypatch.setattr("tstdata.sample.read_documents", counting)
    (tmp_path / "a.json").write_bytes(orjson.dumps([{"body": "no text"}] * 10_000))
    assert sampled(tmp_path) == ()
    assert len(read) == 64
