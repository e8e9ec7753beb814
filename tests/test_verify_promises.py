"""`verify` finds what breaks a promise of the format though every hash is right."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from conftest import SMALL_SEQ_LEN

import tstdata
from tstdata.card import DatasetCard, sha256_of
from tstdata.commit import file_sha256
from tstdata.dataset_files import DatasetFiles
from tstdata.shard_reading import layout_of, read_index, read_rows, rows_of_shard
from tstdata.shards import index_bytes, write_shard


def rewrite(
    dataset: Path, change_rows=lambda rows: None, change_documents=lambda table: table, **card_changes
):
    """Writes a dataset anew with something wrong in it and every hash right: only the promises can tell."""
    card = DatasetCard.load(dataset)
    rows = np.concatenate(
        [
            read_rows(
                DatasetFiles(dataset),
                card,
                shard * layout_of(card).rows_per_shard,
                rows_of_shard(shard, card),
            )
            for shard in range(card.num_shards)
        ]
    ).copy()
    change_rows(rows)
    a_shard = layout_of(card).rows_per_shard
    starts = range(0, len(rows), a_shard)
    layout = layout_of(card)
    entries = [write_shard(dataset, n, rows[at : at + a_shard], layout) for n, at in enumerate(starts)]
    (dataset / "index.json").write_bytes(index_bytes(entries))
    path = dataset / "documents" / "documents.00000.parquet"
    pq.write_table(change_documents(pq.read_table(path)), path)
    files = {name: file_sha256(dataset / name) for name in card.files}
    card.model_copy(update={"files": files, **card_changes}).save(dataset)


def column_changed(table: pa.Table, name: str, change) -> pa.Table:
    values = table[name].to_numpy().copy()
    change(values)
    return table.set_column(
        table.schema.get_field_index(name), name, pa.array(values, table.schema.field(name).type)
    )


def test_a_rewritten_dataset_with_nothing_wrong_is_intact(dataset_copy):
    rewrite(dataset_copy)
    assert tstdata.verify(dataset_copy).ok


def whats(dataset: Path) -> str:
    return "\n".join(f"{problem.file}: {problem.what}" for problem in tstdata.verify(dataset).problems)


def test_an_end_of_text_in_the_wrong_place_is_found(small_dataset, tmp_path):
    dataset = Path(shutil.copytree(small_dataset, tmp_path / "bags"))
    card = DatasetCard.load(dataset)
    first = pq.read_table(dataset / "documents")["num_tokens"][0].as_py() - 1

    def lose(rows):
        assert rows.reshape(-1)[first] == card.tokenizer.eos_id
        rows.reshape(-1)[first] = 5

    rewrite(dataset, lose)
    found = whats(dataset)
    assert "shard.00000.mds: 1 end-of-text ids are not where documents/ has document ends" in found
    assert f"first at token {first} (row {first // SMALL_SEQ_LEN}): there is none" in found


def test_an_end_of_text_too_many_is_found(small_dataset, tmp_path):
    dataset = Path(shutil.copytree(small_dataset, tmp_path / "bags"))

    def add(rows):
        rows[-1, 3] = 0

    rewrite(dataset, add)
    assert "no document ends there" in whats(dataset)


def test_an_id_beyond_the_vocabulary_is_found(small_dataset, tmp_path):
    dataset = Path(shutil.copytree(small_dataset, tmp_path / "bags"))

    def spoil(rows):
        rows[7, 2] = 1024

    rewrite(dataset, spoil)
    assert "shard.00000.mds: row 7 of the shard has id 1024; the tokenizer's ids are below 1024" in whats(
        dataset
    )


def test_rows_of_two_shards_in_the_wrong_order_are_found(small_dataset, tmp_path):
    dataset = Path(shutil.copytree(small_dataset, tmp_path / "bags"))
    a_shard = layout_of(DatasetCard.load(dataset)).rows_per_shard

    def swap(rows):
        rows[: 2 * a_shard] = np.concatenate([rows[a_shard : 2 * a_shard], rows[:a_shard]])

    rewrite(dataset, swap)
    assert {problem.file for problem in tstdata.verify(dataset).problems} == {
        "shard.00000.mds",
        "shard.00001.mds",
    }


def test_a_header_that_is_not_the_rows_is_found_with_every_hash_right(small_dataset, tmp_path):
    dataset = Path(shutil.copytree(small_dataset, tmp_path / "bags"))
    raw = bytearray((dataset / "shard.00002.mds").read_bytes())
    raw[8] ^= 4
    store(dataset, 2, "raw_data", bytes(raw))
    assert whats(dataset) == (
        "shard.00002.mds: its header (number of rows, offsets, column) is not what the card says"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data + b"more", "bytes follow its zstd stream"),
        (lambda data: data[:-3], "its zstd stream is cut off"),
        (lambda data: b"none" + data, "its zstd stream is broken"),
    ],
)
def test_a_zstd_stream_that_is_not_whole_is_found_with_every_hash_right(
    compressed_dataset, tmp_path, change, words
):
    dataset = Path(shutil.copytree(compressed_dataset, tmp_path / "bags"))
    store(dataset, 2, "zip_data", change((dataset / "shard.00002.mds.zstd").read_bytes()))
    assert whats(dataset).startswith(f"shard.00002.mds.zstd: {words}")


def store(dataset: Path, shard: int, kind: str, data: bytes) -> None:
    """Puts other bytes in a shard's place, and corrects the index and the card."""
    entries = read_index(DatasetFiles(dataset))
    entry = entries[shard][kind]
    (dataset / entry["basename"]).write_bytes(data)
    entry |= {"bytes": len(data), "hashes": {"xxh64": xxhash.xxh64(data).hexdigest()}}
    (dataset / "index.json").write_bytes(index_bytes(entries))
    card = DatasetCard.load(dataset)
    files = {**card.files, "index.json": file_sha256(dataset / "index.json")}
    card.model_copy(update={"files": files}).save(dataset)


DOCUMENT_CHANGES = {
    "a document does not begin where": lambda t: column_changed(
        t, "first_token", lambda v: np.add.at(v, 3, 1)
    ),
    "the documents hold": lambda t: t.slice(0, len(t) - 1),
    "sources are not those of the card": lambda t: column_changed(t, "source", lambda v: np.put(v, 0, 9)),
    "the card says": lambda t: column_changed(t, "source", lambda v: np.put(v, 6, 0)),
    "a document has no token": lambda t: column_changed(
        column_changed(t, "num_tokens", lambda v: np.put(v, 0, 0)),
        "first_token",
        lambda v: np.subtract.at(v, slice(1, None), v[1]),
    ),
    "can't be read: its columns are": lambda t: t.drop_columns(["place"]),
}


@pytest.mark.parametrize(("words", "change"), DOCUMENT_CHANGES.items(), ids=DOCUMENT_CHANGES.keys())
def test_documents_that_do_not_cover_the_tokens_are_found(small_dataset, tmp_path, words, change):
    dataset = Path(shutil.copytree(small_dataset, tmp_path / "bags"))
    rewrite(dataset, change_documents=change)
    assert words in whats(dataset)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: {"leftover": (*card.leftover[:-1], 5)}, "leftover: 1 end-of-text ids are not where"),
        (lambda card: {"leftover": (1024, *card.leftover[1:])}, "its leftover has id 1024"),
        (lambda card: {"leftover": card.leftover[1:]}, "num_tokens is not num_rows"),
        (lambda card: {"num_documents": 3}, "the sources' documents are not num_documents"),
        (lambda card: {"seq_len": 16}, "seq_len is not the recipe's"),
        (lambda card: {"dtype": "uint32"}, "dtype does not fit the vocabulary"),
        (lambda card: {"num_shards": card.num_shards + 1}, "num_shards does not hold num_rows"),
        (lambda card: {"recipe_sha256": sha256_of({})}, "recipe_sha256 is not the recipe's"),
    ],
)
def test_a_card_that_contradicts_the_dataset_is_found(small_dataset, tmp_path, change, words):
    dataset = Path(shutil.copytree(small_dataset, tmp_path / "bags"))
    card = DatasetCard.load(dataset)
    card.model_copy(update=change(card)).save(dataset)
    assert words in whats(dataset)
