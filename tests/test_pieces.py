"""How files are cut: the pieces together are the file, and no cut shows in the dataset."""

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_prepare import tree, write_jsonl

import tstdata
from tstdata import fingerprints, tasks
from tstdata.documents import read_documents, read_runs
from tstdata.fingerprints import fingerprint, hash_blocks, join_blocks
from tstdata.pieces import count_lines_before, cut_file, find_span
from tstdata.sources import find_sources

TEXTS = ["one", "", "two\nlines", "x" * 300, "five", "\u00e9\U0001f600", ""]
LINES = {
    "plain": b"".join(orjson.dumps({"text": text}) + b"\n" for text in TEXTS),
    "no newline at the end": b"\n".join(orjson.dumps({"text": text}) for text in TEXTS),
    "blank lines": b"\n\n  \n" + b"\n\n".join(orjson.dumps({"text": text}) for text in TEXTS) + b"\n\n\n",
    "windows newlines": b"".join(orjson.dumps({"text": text}) + b"\r\n" for text in TEXTS),
}


def count_lines(source, span):
    """Returns what reading ends with."""
    reading = read_runs(source, span=span)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 7, 16, 64, 300, 5000])
@pytest.mark.parametrize("name", LINES)
def test_pieces_of_jsonl_have_every_line_once_with_its_number(tmp_path, name, piece_bytes):
    (tmp_path / "a.jsonl").write_bytes(LINES[name])
    (source,) = find_sources(tmp_path / "a.jsonl")
    found, lines = [], 0
    for piece in cut_file(source, piece_bytes):
        span = find_span(source, piece)
        if span is not None:
            assert count_lines_before(source, piece) == lines
        documents = read_documents(source, span=span)
        found += [(document.place + (lines if span else 0), document.text) for document in documents]
        lines += count_lines(source, span)
    assert found == [(document.place, document.text) for document in read_documents(source)]
    assert [text for _, text in found] == TEXTS
    assert lines == len(LINES[name].removesuffix(b"\n").split(b"\n"))


@pytest.mark.parametrize("piece_bytes", [1, 200, 1 << 20])
def test_pieces_of_parquet_are_runs_of_row_groups_that_cover_its_bytes(tmp_path, piece_bytes):
    texts = [f"text {number} {'y' * number}" for number in range(100)]
    pq.write_table(pa.table({"n": range(100), "text": texts}), tmp_path / "a.parquet", row_group_size=7)
    (source,) = find_sources(tmp_path / "a.parquet")
    pieces = cut_file(source, piece_bytes)
    assert len(pieces) == {1: 15, 200: len(pieces), 1 << 20: 1}[piece_bytes]
    assert [piece.start for piece in pieces] + [source.size] == [0] + [piece.stop for piece in pieces]
    found = [one for piece in pieces for one in read_documents(source, span=find_span(source, piece))]
    assert [tuple(document) for document in found] == list(enumerate(texts))


@pytest.mark.parametrize("piece_bytes", [1, 5, 16, 20, 64, 1000])
def test_a_fingerprint_does_not_depend_on_the_pieces(tmp_path, monkeypatch, piece_bytes):
    monkeypatch.setattr(fingerprints, "_BLOCK_BYTES", 16)
    (tmp_path / "a.jsonl").write_bytes(LINES["plain"])
    (source,) = find_sources(tmp_path / "a.jsonl")
    blocks = [block for piece in cut_file(source, piece_bytes) for block in hash_blocks(source, piece)]
    assert join_blocks(source, blocks) == fingerprint(source)


def test_a_dataset_does_not_depend_on_how_its_files_are_cut(tmp_path, tokenizer_dir, monkeypatch):
    texts = [f"document {number} {'word ' * (number * 7 % 50)}" for number in range(400)]
    write_jsonl(tmp_path / "a.jsonl", texts)
    pq.write_table(pa.table({"text": texts}), tmp_path / "b.parquet", row_group_size=9)
    trees = []
    for task_bytes, workers in ((1 << 20, 1), (997, 2), (5000, 1)):
        monkeypatch.setattr(tasks, "_TASK_BYTES", task_bytes)
        out = tmp_path / f"out-{task_bytes}"
        report = tstdata.prepare(
            [tmp_path / "a.jsonl", tmp_path / "b.parquet"], out, tokenizer_dir, 16, workers=workers
        )
        trees.append(tree(out))
    assert report.num_tasks > 10
    assert trees[0] == trees[1] == trees[2]
    places = pq.read_table(out / "documents" / "documents.00000.parquet")["place"].to_pylist()
    assert places == [*range(1, 401), *range(400)]


def test_bad_input_in_a_late_piece_is_named_by_its_line_and_byte_in_the_file(
    tmp_path, tokenizer_dir, monkeypatch
):
    monkeypatch.setattr(tasks, "_TASK_BYTES", 100)
    good = orjson.dumps({"text": "good"}) + b"\n"
    (tmp_path / "a.jsonl").write_bytes(good * 50 + b"{\n" + good)
    with pytest.raises(ValueError, match=rf"a\.jsonl line 51 \(byte {50 * len(good)}\): broken JSON"):
        tstdata.prepare(tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir, 2)


def test_a_source_that_was_only_touched_is_the_same_source(tmp_path, tokenizer_dir, monkeypatch):
    write_jsonl(tmp_path / "a.jsonl", ["text"] * 9)
    arguments = (tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir, 4)
    with monkeypatch.context() as patch:
        patch.setattr("tstdata.building.write_documents", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tstdata.prepare(*arguments)
    (tmp_path / "a.jsonl").touch()
    assert tstdata.prepare(*arguments).card.num_documents == 9


def test_a_source_that_changed_its_bytes_but_not_its_size_is_refused(tmp_path, tokenizer_dir, monkeypatch):
    write_jsonl(tmp_path / "a.jsonl", ["text"] * 9)
    arguments = (tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir, 4)
    with monkeypatch.context() as patch:
        patch.setattr("tstdata.building.write_documents", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tstdata.prepare(*arguments)
    write_jsonl(tmp_path / "a.jsonl", ["test"] * 9)
    with pytest.raises(ValueError, match=r"a\.jsonl has other contents"):
        tstdata.prepare(*arguments)
