"""The laws of `tstdata.prepare`: nothing lost, nothing repeated, same inputs same bytes."""

import shutil
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from conftest import BEGIN_OF_TEXT, END_OF_TEXT, SMALL_SEQ_LEN
from references import read_rows_with_streaming, tokenize_and_concatenate
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer

import tstdata
from tstdata import tasks
from tstdata.fast_encoder import FastEncoder

# Streaming leaves a compressed shard's file open for the garbage collector when it decompresses it.
pytestmark = pytest.mark.filterwarnings(r"ignore:unclosed file .*\.mds\.zstd:ResourceWarning")


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def all_ids(dataset: Path) -> list[int]:
    rows = read_rows_with_streaming(dataset)
    return [one for row in rows for one in row] + list(tstdata.DatasetCard.load(dataset).leftover)


def test_every_token_of_every_document_is_in_exactly_one_row_in_order(small_dataset, corpus, tokenizer):
    assert all_ids(small_dataset) == tokenize_and_concatenate(corpus[1], tokenizer, 0)


def test_rows_are_fixed_width_and_shards_are_many_and_odd(small_dataset):
    index = orjson.loads((small_dataset / "index.json").read_bytes())
    assert {shard["column_encodings"][0] for shard in index["shards"]} == {f"ndarray:uint16:{SMALL_SEQ_LEN}"}
    assert {tuple(shard["column_names"]) for shard in index["shards"]} == {("tokens",)}
    counts = [shard["samples"] for shard in index["shards"]]
    assert len(counts) > 3
    assert len(set(counts[:-1])) == 1
    assert counts[-1] < counts[0]


def test_the_card_counts_what_the_dataset_holds(small_dataset, corpus):
    card = tstdata.DatasetCard.load(small_dataset)
    assert card.num_documents == len(corpus[1]) == sum(source.num_documents for source in card.sources)
    assert card.num_rows == len(read_rows_with_streaming(small_dataset))
    assert card.num_tokens == card.num_rows * card.seq_len + len(card.leftover) == len(all_ids(small_dataset))
    assert [Path(source.path).name for source in card.sources[:5]] == [
        "a.jsonl",
        "b.jsonl.gz",
        "c.jsonl.zst",
        "d.parquet",
        "000.py",
    ]


def test_documents_lead_from_every_token_to_its_place_in_the_source(small_dataset, corpus, tokenizer):
    records = [
        record
        for path in sorted((small_dataset / "documents").glob("*.parquet"))
        for record in pq.read_table(path).to_pylist()
    ]
    ids = all_ids(small_dataset)
    position = 0
    for record, text in zip(records, corpus[1], strict=True):
        end = record["first_token"] + record["num_tokens"]
        assert record["first_token"] == position
        assert ids[position:end] == [*tokenizer.encode(text, add_special_tokens=False).ids, 0]
        path, place = Path(record["path"]), record["place"]
        if path.name == "a.jsonl":
            assert orjson.loads(path.read_bytes().split(b"\n")[place - 1])["text"] == text
        elif path.name == "d.parquet":
            assert pq.read_table(path)["text"][place].as_py() == text
        elif path.suffix == ".py":
            assert (place, path.read_bytes().decode()) == (0, text)
        position = end
    assert position == len(ids)


def test_an_empty_document_is_one_end_of_text(tmp_path, tokenizer_dir, tokenizer):
    texts = ["", "a", "", "", "b c", ""]
    source = write_jsonl(tmp_path / "a.jsonl", texts)
    (tmp_path / "empty.txt").write_bytes(b"")
    tstdata.prepare([source, tmp_path / "empty.txt"], tmp_path / "out", tokenizer_dir, 2)
    assert all_ids(tmp_path / "out") == tokenize_and_concatenate([*texts, ""], tokenizer, 0)


def test_blank_lines_are_no_documents_but_count_as_lines(tmp_path, tokenizer_dir):
    (tmp_path / "a.jsonl").write_bytes(b'\n{"text": "a"}\r\n \t\n{"text": "b"}')
    tstdata.prepare(tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir, 2)
    table = pq.read_table(tmp_path / "out" / "documents" / "documents.00000.parquet")
    assert table["place"].to_pylist() == [2, 4]


def test_begin_of_text_comes_before_every_document_on_request(tmp_path, tokenizer_dir, tokenizer):
    texts = ["one", "", "two three"]
    write_jsonl(tmp_path / "a.jsonl", texts)
    report = tstdata.prepare(tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir, 2, bos=True)
    assert all_ids(tmp_path / "out") == tokenize_and_concatenate(texts, tokenizer, 0, bos_id=1)
    assert (report.card.tokenizer.bos_token, report.card.tokenizer.bos_id) == (BEGIN_OF_TEXT, 1)
    assert tstdata.verify(tmp_path / "out").ok


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, "uint16"), (65_537, "uint32")])
def test_ids_are_uint16_as_long_as_the_vocabulary_fits(tmp_path, vocab_size, dtype):
    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(vocab_size)}, unk_token="w1"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "tokenizer.json"))
    last = vocab_size - 1
    write_jsonl(tmp_path / "a.jsonl", [f"w5 w{last}", "w7"])
    out = tmp_path / "out"
    report = tstdata.prepare(
        tmp_path / "a.jsonl", out, tmp_path / "tokenizer.json", 2, eos_token="w0", encoder="reference"
    )
    assert report.card.dtype == dtype
    assert all_ids(out) == [5, last, 0, 7, 0]
    assert tstdata.verify(out).ok


def test_text_that_gives_the_end_of_text_id_is_refused_by_place(tmp_path, tokenizer_dir, corpus):
    write_jsonl(tmp_path / "a.jsonl", ["fine", "the def is in this one"])
    with pytest.raises(ValueError, match=r"a\.jsonl line 2: the text itself encodes to the end-of-text id"):
        tstdata.prepare(tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir, 2, eos_token="Ġdef")
    assert not (tmp_path / "out").exists()


def test_the_number_of_workers_does_not_change_a_byte(
    tmp_path, small_dataset, corpus, tokenizer_dir, monkeypatch
):
    monkeypatch.setattr(tasks, "_TASK_BYTES", 50_000)
    outs = [tmp_path / "1", tmp_path / "3"]
    for out in outs:
        tstdata.prepare(
            corpus[0], out, tokenizer_dir, SMALL_SEQ_LEN, size_limit=70_000, workers=int(out.name)
        )
    assert tree(outs[0]) == tree(outs[1]) == tree(small_dataset)


def test_compressed_shards_hold_the_same_rows(tmp_path, small_dataset, corpus, tokenizer_dir):
    report = tstdata.prepare(
        corpus[0], tmp_path / "out", tokenizer_dir, SMALL_SEQ_LEN, size_limit=70_000, compression="zstd"
    )
    stored = report.stored_bytes
    assert stored < sum(path.stat().st_size for path in small_dataset.glob("*.mds"))
    assert all_ids(tmp_path / "out") == all_ids(small_dataset)


def test_the_tokenizer_is_copied_and_loads_with_transformers(small_dataset, tokenizer_dir):
    assert tree(small_dataset / "tokenizer") == tree(tokenizer_dir)
    assert AutoTokenizer.from_pretrained(small_dataset / "tokenizer").eos_token == END_OF_TEXT


def test_the_whole_corpus_is_read_in_batches_and_loses_nothing(
    tmp_path, tokenizer_dir, tokenizer, monkeypatch
):
    monkeypatch.setattr(FastEncoder, "batch_characters", 50)
    monkeypatch.setattr(tasks, "_BATCH_DOCUMENTS", 3)
    encode_batch = FastEncoder.encode_batch
    batches = []
    texts = [f"text {'x ' * (n * 7 % 41)}" for n in range(40)]
    write_jsonl(tmp_path / "a.jsonl", texts)

    def recorded(encoder, batch):
        if set(batch) <= set(texts):  # Else it is the proof of the encoder.
            batches.append(batch)
        return encode_batch(encoder, batch)

    monkeypatch.setattr(FastEncoder, "encode_batch", recorded)
    tstdata.prepare(tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir, 16)
    assert all_ids(tmp_path / "out") == tokenize_and_concatenate(texts, tokenizer, 0)
    assert [text for batch in batches for text in batch] == texts
    assert all(len(batch) == 1 or sum(map(len, batch)) <= 50 for batch in batches)
    assert {1, 2} <= set(map(len, batches)) <= {1, 2, 3}


@pytest.mark.parametrize("files_wanted", [1, 2, 5])
@pytest.mark.parametrize("more", [0, 1])
def test_many_document_files_say_the_same_as_one(
    tmp_path, small_dataset, corpus, tokenizer_dir, monkeypatch, files_wanted, more
):
    from tstdata import merging

    num_documents = tstdata.DatasetCard.load(small_dataset).num_documents
    a_file = num_documents // files_wanted + more
    monkeypatch.setattr(merging, "_DOCUMENTS_A_FILE", a_file)
    monkeypatch.setattr(merging, "_ROWS_A_GROUP", 3)
    monkeypatch.setitem(merging._DOCUMENTS_FORMAT, "row_group_size", 3)
    monkeypatch.setattr(tasks, "_TASK_BYTES", 50_000)
    tstdata.prepare(corpus[0], tmp_path / "out", tokenizer_dir, SMALL_SEQ_LEN)
    files = sorted((tmp_path / "out" / "documents").glob("*"))
    tables = [pq.read_table(path) for path in files]
    whole, rest = divmod(num_documents, a_file)
    assert [len(table) for table in tables] == [a_file] * whole + [rest] * bool(rest)
    merged = [record for table in tables for record in table.to_pylist()]
    assert merged == pq.read_table(small_dataset / "documents" / "documents.00000.parquet").to_pylist()
    assert tstdata.verify(tmp_path / "out").ok


def test_a_dry_run_writes_nothing(tmp_path, corpus, tokenizer_dir):
    report = tstdata.prepare(corpus[0], tmp_path / "out", tokenizer_dir, 8, dry_run=True)
    assert report.card is None
    assert report.num_bytes == sum(path.stat().st_size for path in corpus[0].rglob("*") if path.is_file())
    assert not (tmp_path / "out").exists()


def test_less_than_one_row_of_tokens_is_refused_and_leaves_nothing(tmp_path, tokenizer_dir):
    write_jsonl(tmp_path / "a.jsonl", ["a"])
    with pytest.raises(
        ValueError, match=r"hold 2 tokens in all, less than one row of seq_len 3\. Give a smaller"
    ):
        tstdata.prepare(tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir, 3)
    assert not (tmp_path / "out").exists()


def test_a_corpus_that_fills_its_last_row_leaves_nothing_over(tmp_path, tokenizer_dir):
    write_jsonl(tmp_path / "a.jsonl", ["a", "b"])
    report = tstdata.prepare(tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir, 4)
    assert (report.card.num_rows, report.card.leftover) == (1, ())
    assert tstdata.verify(tmp_path / "out").ok


def test_a_finished_dataset_asked_for_again_is_left_as_it_is(tmp_path, small_dataset, corpus, tokenizer_dir):
    out = tmp_path / "out"
    shutil.copytree(small_dataset, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    report = tstdata.prepare(corpus[0], out, tokenizer_dir, SMALL_SEQ_LEN, size_limit=70_000)
    assert report.already_done
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
