"""`inspect` and the prepare command: what they print is what the dataset holds."""

import json
import re
import shutil
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from conftest import SMALL_SEQ_LEN
from references import fold_bags, tokenize_and_concatenate
from tst_tools import cli

import tstdata
from tstdata.inspection import inspect_row
from tstdata.trace import trace


@pytest.fixture(scope="module")
def ids(corpus, tokenizer) -> list[int]:
    return tokenize_and_concatenate(corpus[1], tokenizer, 0)


def ask(capsys, *arguments) -> dict:
    assert cli.main(["inspect", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("row", [0, 1025, 1026, 4702])
def test_a_row_is_its_tokens_of_the_corpus(small_dataset, ids, capsys, tokenizer, row):
    found = ask(capsys, small_dataset, "--row", row)["row"]
    start = row * SMALL_SEQ_LEN
    assert found["ids"] == ids[start : start + SMALL_SEQ_LEN]
    assert found["text"] == tokenizer.decode(found["ids"], skip_special_tokens=False)
    assert found["tokens"] == [tokenizer.decode([one], skip_special_tokens=False) for one in found["ids"]]
    assert (found["shard"], found["row_in_shard"]) == (f"shard.{row // 1026:05}.mds", row % 1026)


@pytest.mark.parametrize("bag_size", [2, 3, 8])
def test_a_bag_row_is_bags_of_consecutive_tokens(small_dataset, ids, capsys, tokenizer, bag_size):
    found = ask(capsys, small_dataset, "--row", 10, "--bag-size", bag_size)["row"]
    start = 10 * SMALL_SEQ_LEN
    (bags,) = fold_bags([ids[start : start + SMALL_SEQ_LEN * bag_size]], bag_size)
    assert len(bags) == SMALL_SEQ_LEN
    assert found["bags"] == [
        [tokenizer.decode([one], skip_special_tokens=False) for one in bag] for bag in bags
    ]


def test_a_row_names_the_documents_it_comes_from(small_dataset):
    records = pq.read_table(small_dataset / "documents").to_pylist()
    for row in range(0, 4703, 97):
        start, stop = row * SMALL_SEQ_LEN, (row + 1) * SMALL_SEQ_LEN
        wanted = [
            (record["path"], record["place"], record["first_token"])
            for record in records
            if record["first_token"] < stop and record["first_token"] + record["num_tokens"] > start
        ]
        found = inspect_row(small_dataset, row).documents
        assert [(one.path, one.place, one.first_token) for one in found] == wanted


def test_tracing_reads_only_the_groups_it_needs_and_misses_none(small_dataset, tmp_path):
    card = tstdata.DatasetCard.load(small_dataset)
    table = pq.read_table(small_dataset / "documents")
    (tmp_path / "documents").mkdir()
    names = [f"documents/{number:05}.parquet" for number in range(-(-len(table) // 7))]
    for number, name in enumerate(names):
        pq.write_table(table.slice(number * 7, 7), tmp_path / name, row_group_size=2)
    cut = card.model_copy(update={"files": dict.fromkeys(names, "")})
    for start in range(0, card.num_tokens, 1777):
        for length in (1, 2000):
            assert trace(tmp_path, cut, start, start + length) == trace(
                small_dataset, card, start, start + length
            )


def test_a_document_is_traced_by_its_own_tokens_and_no_others(small_dataset):
    card = tstdata.DatasetCard.load(small_dataset)
    for record in pq.read_table(small_dataset / "documents").to_pylist():
        first, stop = record["first_token"], record["first_token"] + record["num_tokens"]
        (only,) = trace(small_dataset, card, first, stop)
        assert (only.first_token, only.num_tokens) == (first, stop - first)


def test_the_card_is_printed_with_and_without_a_row(small_dataset, capsys):
    card = tstdata.DatasetCard.load(small_dataset)
    assert ask(capsys, small_dataset)["card"] == card.model_dump(mode="json")
    assert cli.main(["inspect", str(small_dataset), "--bag-size", "2"]) == 0
    out = capsys.readouterr().out
    for words in (
        f"{card.num_rows:,} of 32 tokens (uint16) in 5 shards",
        "bag row of rows 0 to 1",
        "a.jsonl line 1",
    ):
        assert words in out
    assert f"\n  {SMALL_SEQ_LEN - 1}: " in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--row", "4703"], "row 4703 is not in .*: it has rows 0 to 4702"),
        (["--row", "-1"], "row -1 is not in"),
        (["--row", "1025", "--bag-size", "2"], "from row 1025 its shard has only 1"),
        (["--bag-size", "0"], "bag size is 0"),
    ],
)
def test_a_row_that_is_not_there_is_refused(small_dataset, capsys, arguments, words):
    assert cli.main(["inspect", str(small_dataset), *arguments]) == 2
    assert re.search(words, capsys.readouterr().err)


@pytest.mark.parametrize(
    "name", ["shard.00000.mds", "documents/documents.00000.parquet", "tokenizer/tokenizer.json"]
)
def test_a_damaged_file_is_an_error_and_no_crash(small_dataset, tmp_path, capsys, name):
    dataset = Path(shutil.copytree(small_dataset, tmp_path / "bags"))
    (dataset / name).write_bytes((dataset / name).read_bytes()[:100])
    assert cli.main(["inspect", str(dataset), "--row", "0"]) == 2
    assert "tst inspect: error: " in capsys.readouterr().err


def test_the_prepare_command_prints_its_result_and_then_that_it_is_done(tmp_path, tokenizer_dir, capsys):
    source = tmp_path / "a.jsonl"
    source.write_bytes(b"".join(orjson.dumps({"body": "some text"}) + b"\n" for _ in range(9)))
    command = ["prepare", str(source), "--out", str(tmp_path / "out"), "--tokenizer", str(tokenizer_dir)]
    command += ["--seq-len", "4", "--text-key", "body", "--compression", "zstd"]
    assert cli.main([*command, "--dry-run"]) == 0
    plan = capsys.readouterr().out
    assert f"{source}  jsonl  {source.stat().st_size:,} bytes" in plan
    assert not (tmp_path / "out").exists()
    assert cli.main(command) == 0
    first = capsys.readouterr()
    card = tstdata.DatasetCard.load(tmp_path / "out")
    for words in (
        f"rows             {card.num_rows}",
        f"tokens           {card.num_tokens}",
        "documents        9",
    ):
        assert words in first.out
    stored = (tmp_path / "out" / "shard.00000.mds.zstd").stat().st_size / (card.num_rows * 4)
    assert f"bytes per token  {stored:.2f}" in first.out
    assert first.out.rstrip().endswith(str(tmp_path / "out"))
    assert "tokens/s" in first.err
    assert cli.main(command) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert "already: nothing to do" in again.err
    assert cli.main([*command, "--eos-token", "nope"]) == 2


def test_a_lost_tokenizer_is_named_and_looked_for_nowhere_else(small_dataset, tmp_path):
    dataset = shutil.copytree(small_dataset, tmp_path / "data")
    shutil.rmtree(dataset / "tokenizer")
    with pytest.raises(FileNotFoundError, match=r"data/tokenizer/.* is missing: copy it from the tokenizer"):
        inspect_row(dataset, 0)
