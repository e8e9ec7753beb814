"""`verify` finds every planted corruption, names the file, and never fails on it."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from conftest import SMALL_SEQ_LEN
from tst_tools import cli

import tstdata
from tstdata.card import DatasetCard, sha256_of
from tstdata.commit import file_sha256
from tstdata.shard_reading import layout_of, read_index, read_rows, rows_of_shard
from tstdata.shards import write_index, write_shard


@pytest.fixture(scope="module")
def compressed(corpus, tokenizer_dir, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("compressed") / "bags"
    tstdata.prepare(corpus[0], out, tokenizer_dir, SMALL_SEQ_LEN, size_limit=70_000, compression="zstd")
    return out


@pytest.fixture(params=["plain", "zstd"])
def dataset(request, small_dataset, compressed, tmp_path) -> Path:
    """A copy that a test may damage."""
    out = tmp_path / "bags"
    shutil.copytree(small_dataset if request.param == "plain" else compressed, out)
    return out


def bad_files(dataset: Path) -> set[str]:
    return {problem.file for problem in tstdata.verify(dataset).problems}


def files_of(dataset: Path) -> list[Path]:
    return sorted(path for path in dataset.rglob("*") if path.is_file())


def test_a_dataset_as_it_was_written_is_intact(dataset):
    assert tstdata.verify(dataset).problems == []


def damages(data: bytes) -> dict[str, bytes | None]:
    """A flipped byte at many places, the file cut off at many places, emptied, longer, gone."""
    found: dict[str, bytes | None] = {"gone": None, "empty": b"", "longer": data + b"\0"}
    rng = np.random.default_rng(len(data))
    places = {0, 1, 4, len(data) // 2, len(data) - 1, *rng.integers(0, len(data), 12).tolist()}
    for place in places:
        found[f"flipped at {place}"] = (
            data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]
        )
    for size in {1, len(data) // 2, len(data) - 1}:
        found[f"cut at {size}"] = data[:size]
    return found


def test_every_damage_to_every_kind_of_file_is_found_and_named(dataset):
    for path in files_of(dataset):
        name = str(path.relative_to(dataset))
        data = path.read_bytes()
        for what, damaged in damages(data).items():
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            found = bad_files(dataset)
            assert name in found, f"{name} {what}"
            # A bad shard does not make the others bad; a bad index or card may.
            assert found == {name} or name in ("index.json", "dataset.json"), f"{name} {what}"
            path.write_bytes(data)
    assert tstdata.verify(dataset).ok


def test_two_swapped_shards_are_both_named(dataset):
    first, second = sorted(dataset.glob("shard.*"))[:2]
    first.rename(dataset / "aside")
    second.rename(first)
    (dataset / "aside").rename(second)
    assert bad_files(dataset) == {first.name, second.name}


def test_a_directory_without_a_card_is_not_finished(dataset, capsys):
    (dataset / "dataset.json").unlink()
    assert cli.main(["verify", str(dataset)]) == 1
    assert "dataset.json: is missing: the dataset is not finished" in capsys.readouterr().out


def rewrite(
    dataset: Path, change_rows=lambda rows: None, change_documents=lambda table: table, **card_changes
):
    """Writes a dataset anew with something wrong in it and every hash right: only the promises can tell."""
    card = DatasetCard.load(dataset)
    rows = np.concatenate(
        [
            read_rows(dataset, card, shard * layout_of(card).rows_per_shard, rows_of_shard(shard, card))
            for shard in range(card.num_shards)
        ]
    ).copy()
    change_rows(rows)
    a_shard = layout_of(card).rows_per_shard
    starts = range(0, len(rows), a_shard)
    write_index(
        dataset,
        [write_shard(dataset, n, rows[at : at + a_shard], layout_of(card)) for n, at in enumerate(starts)],
    )
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


def test_a_rewritten_dataset_with_nothing_wrong_is_intact(dataset):
    rewrite(dataset)
    assert tstdata.verify(dataset).ok


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
    assert bad_files(dataset) == {"shard.00000.mds", "shard.00001.mds"}


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
def test_a_zstd_stream_that_is_not_whole_is_found_with_every_hash_right(compressed, tmp_path, change, words):
    dataset = Path(shutil.copytree(compressed, tmp_path / "bags"))
    store(dataset, 2, "zip_data", change((dataset / "shard.00002.mds.zstd").read_bytes()))
    assert whats(dataset).startswith(f"shard.00002.mds.zstd: {words}")


def store(dataset: Path, shard: int, kind: str, data: bytes) -> None:
    """Puts other bytes in a shard's place, and corrects the index and the card."""
    entries = read_index(dataset)
    entry = entries[shard][kind]
    (dataset / entry["basename"]).write_bytes(data)
    entry |= {"bytes": len(data), "hashes": {"xxh64": xxhash.xxh64(data).hexdigest()}}
    write_index(dataset, entries)
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


def test_a_card_that_was_edited_does_not_load(dataset):
    path = dataset / "dataset.json"
    path.write_bytes(path.read_bytes().replace(b'"num_rows": 4703', b'"num_rows": 4702'))
    with pytest.raises(ValueError, match="was changed after it was written"):
        DatasetCard.load(dataset)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"{}", b'{"format_version": 99}', b'{"format_version": 1}', b"\xff"]
)
def test_a_card_that_is_none_is_told_of(tmp_path, text):
    (tmp_path / "dataset.json").write_bytes(text)
    (problem,) = tstdata.verify(tmp_path).problems
    assert problem.file == "dataset.json"


@pytest.mark.parametrize(
    "text", [b"[]", b"{}", b'{"shards": 3}', b'{"shards": [1, {}, null]}', b'{"shards": []}']
)
def test_an_index_that_is_none_is_told_of(small_dataset, tmp_path, text):
    dataset = Path(shutil.copytree(small_dataset, tmp_path / "bags"))
    (dataset / "index.json").write_bytes(text)
    assert "index.json" in bad_files(dataset)


def test_the_command_exits_0_when_intact_and_1_when_not(dataset, capsys):
    assert cli.main(["verify", str(dataset)]) == 0
    assert ": intact, 5 shards" in capsys.readouterr().out
    shard = sorted(dataset.glob("shard.*"))[2]
    shard.write_bytes(shard.read_bytes()[:-1])
    assert cli.main(["verify", str(dataset)]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{shard.name}: ")
    assert "NOT intact" in out
    assert cli.main(["verify", str(dataset / "none")]) == 2
