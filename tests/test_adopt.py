"""Data that others tokenised become the same documents and tokens, with nothing encoded again."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from streaming import MDSWriter
from test_append import ids_of
from test_prepare import tree
from tst_tools import cli

import tstdata
from tstdata.inspection import inspect_row

EOS, SIZE = 7, 1000
DOCUMENTS = [[(n * 31 + m * 17) % 990 + 10 for m in range(n * 5 % 23)] for n in range(60)]
STREAM = [one for ids in DOCUMENTS for one in [*ids, EOS]]
STATED = {"eos_id": EOS, "vocab_size": SIZE}


def lengths_of(dataset) -> list[int]:
    return pq.read_table(dataset / "documents")["num_tokens"].to_pylist()


def write_mds(folder, encoding: str, seq_len: int, compression: str | None = None):
    """As LLM Foundry's converters write: rows of one length, the rest of the stream left out."""
    columns = {"tokens": encoding, "note": "str"}
    kind = encoding.split(":")
    with MDSWriter(out=str(folder), columns=columns, compression=compression, size_limit=700) as out:
        for start in range(0, len(STREAM) // seq_len * seq_len, seq_len):
            dtype = kind[1] if len(kind) > 1 else "int64"
            row = np.array(STREAM[start : start + seq_len], dtype)
            out.write({"tokens": row.tobytes() if encoding == "bytes" else row, "note": "x" * (start % 5)})
    return folder


@pytest.mark.parametrize("encoding", ["bytes", "ndarray:int32", "ndarray:int64:12", "ndarray:uint16:12"])
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_mds_rows_become_the_documents_they_were_joined_from(tmp_path, encoding, compression):
    source = write_mds(tmp_path / "mds", encoding, 12, compression)
    out = tmp_path / "out"
    dtype = "int64" if encoding == "bytes" else None
    card = tstdata.prepare(source, out, None, 8, adopt="mds", adopt_dtype=dtype, **STATED).card
    kept = STREAM[: len(STREAM) // 12 * 12]
    assert ids_of(out) == [*kept, *([EOS] if kept[-1] != EOS else [])]
    assert card.recipe.adopt == "mds"
    assert card.sources[0].format == "mds"
    assert (card.dtype, card.tokenizer.vocab_size, card.tokenizer.files) == ("uint16", SIZE, {})
    assert tstdata.verify(out, sources=100).ok


def write_megatron(prefix, dtype: str, eod: bool, split: bool):
    """Megatron's indexed dataset by its format: a document is one sequence, or of two if `split`."""
    code = {"uint16": 8, "int32": 4}[dtype]
    sequences, documents = [], [0]
    for ids in DOCUMENTS:
        ids = [*ids, EOS] if eod else ids
        cut = len(ids) // 2 if split else len(ids)
        sequences += [ids[:cut], ids[cut:]] if split else [ids]
        documents.append(len(sequences))
    lengths = np.array([len(one) for one in sequences], "<i4")
    pointers = (np.cumsum(lengths, dtype="<i8") - lengths) * np.dtype(dtype).itemsize
    flat = np.array([one for ids in sequences for one in ids], dtype)
    prefix.with_suffix(".bin").write_bytes(flat.tobytes())
    head = b"MMIDIDX\x00\x00" + (1).to_bytes(8, "little") + bytes([code])
    counts = np.array([len(sequences), len(documents)], "<u8").tobytes()
    arrays = lengths.tobytes() + pointers.astype("<i8").tobytes() + np.array(documents, "<i8").tobytes()
    prefix.with_suffix(".idx").write_bytes(head + counts + arrays)


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
@pytest.mark.parametrize("eod", [True, False])
@pytest.mark.parametrize("split", [True, False])
def test_megatron_documents_stay_the_documents_they_are(tmp_path, dtype, eod, split):
    write_megatron(tmp_path / "data", dtype, eod, split)
    out = tmp_path / "out"
    tstdata.prepare(tmp_path / "data", out, None, 8, adopt="megatron", **STATED)
    assert ids_of(out) == STREAM
    assert lengths_of(out) == [len(ids) + 1 for ids in DOCUMENTS]
    assert tstdata.verify(out, sources=100).ok


@pytest.mark.parametrize("name", ["a.bin", "a.npy", "a.uint32"])
def test_flat_ids_are_cut_where_documents_end(tmp_path, name, monkeypatch):
    monkeypatch.setattr("tstdata.reading_ids._CHUNK_TOKENS", 11)
    dtype = "uint32" if name.endswith("32") else "int16"
    ids = np.array(STREAM, dtype)
    path = tmp_path / name
    np.save(path, ids) if name.endswith(".npy") else path.write_bytes(ids.tobytes())
    stated = {} if name.endswith(".npy") else {"adopt_dtype": dtype}
    out = tmp_path / "out"
    tstdata.prepare(path, out, None, 8, adopt="flat", **stated, **STATED)
    assert ids_of(out) == STREAM
    assert lengths_of(out) == [len(ids) + 1 for ids in DOCUMENTS]
    places = pq.read_table(out / "documents")["place"].to_pylist()
    assert places == pq.read_table(out / "documents")["first_token"].to_pylist()


def test_adopted_data_with_their_tokenizer_are_the_dataset_that_encoding_gives(
    tmp_path, corpus, tokenizer_dir, small_dataset
):
    flat = tmp_path / "a.bin"
    flat.write_bytes(np.array(ids_of(small_dataset), np.uint16).tobytes())
    out = tmp_path / "out"
    arguments = (flat, out, tokenizer_dir, 32)
    tstdata.prepare(*arguments, adopt="flat", adopt_dtype="uint16", size_limit=70_000, workers=2)
    here, there = tree(out), tree(small_dataset)
    assert {name for name in here if here[name] != there.get(name)} == {
        "dataset.json",
        "documents/documents.00000.parquet",
    }
    assert inspect_row(out, 3).text == inspect_row(small_dataset, 3).text
    damaged = out / "shard.00001.mds"
    data = damaged.read_bytes()
    damaged.write_bytes(data[:-1] + b"!")
    assert tstdata.verify(out, repair=True).repaired == ["shard.00001.mds"]
    assert damaged.read_bytes() == data


def test_adopted_data_are_appended_to_held_out_and_inspected_without_a_tokenizer(tmp_path, capsys):
    for number in range(2):
        np.save(tmp_path / f"{number}.npy", np.array(STREAM, np.int32))
    common = {"adopt": "flat", "holdout": 0.3, **STATED}
    tstdata.prepare(tmp_path / "0.npy", tmp_path / "out", None, 8, **common)
    report = tstdata.prepare(tmp_path / "1.npy", tmp_path / "out", None, 8, append=True, **common)
    held = report.val.card.num_documents
    assert held + report.card.num_documents == 2 * len(DOCUMENTS)
    assert 0 < held < len(DOCUMENTS)
    assert cli.main(["inspect", str(tmp_path / "out" / "train"), "--row", "0"]) == 0
    assert str(STREAM[1]) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"eos_id": 7}, "give --tokenizer, or --eos-id and --vocab-size"),
        ({"eos_id": 7, "vocab_size": 500}, r"token \d+: has the id \d+; the vocabulary's are 0 to 499"),
        ({"eos_id": 70, "vocab_size": 50}, "eos_id is 70"),
        ({**STATED, "adopt_dtype": None}, "give --dtype uint16"),
        ({**STATED, "adopt_dtype": "float32"}, "dtype is 'float32'"),
        ({**STATED, "adopt_dtype": "uint64"}, "no whole number of uint64|has the id"),
        ({**STATED, "min_chars": 3}, "min_chars is 3, but adopted data are ids already"),
        ({**STATED, "text_key": "body"}, "text_key is 'body', but adopted data are ids already"),
        ({**STATED, "adopt": "word"}, "adopt is 'word'"),
        ({**STATED, "adopt": "mds"}, r"index\.json does not exist"),
        ({**STATED, "adopt": "megatron"}, r"\.idx does not exist"),
        ({**STATED, "adopt": None}, "go with --adopt"),
    ],
)
def test_what_is_not_stated_or_contradicts_is_refused(tmp_path, stated, words):
    path = tmp_path / "a.bin"
    path.write_bytes(np.array(STREAM, np.int32).tobytes())
    arguments = {"adopt": "flat", "adopt_dtype": "int32", **stated}
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        tstdata.prepare(path, tmp_path / "out", None, 8, **arguments)
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_that_contradicts_what_is_stated_is_refused(tmp_path, tokenizer_dir):
    np.save(tmp_path / "a.npy", np.array(STREAM))
    with pytest.raises(ValueError, match=r"eos_id is stated as 7, and .* has 0: leave it out"):
        tstdata.prepare(tmp_path / "a.npy", tmp_path / "out", tokenizer_dir, 8, adopt="flat", eos_id=7)


def test_the_command_adopts(tmp_path, capsys):
    (tmp_path / "a.bin").write_bytes(np.array(STREAM, np.uint16).tobytes())
    command = ["prepare", str(tmp_path / "a.bin"), "--out", str(tmp_path / "out"), "--seq-len", "8"]
    stated = ["--dtype", "uint16", "--eos-id", str(EOS), "--vocab-size", str(SIZE)]
    assert cli.main([*command, "--adopt", "flat", *stated]) == 0
    assert f"documents        {len(DOCUMENTS)}" in capsys.readouterr().out
    assert cli.main([*command[:-1], "4"]) == 2
    assert "text needs --tokenizer" in capsys.readouterr().err
