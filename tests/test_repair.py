"""Verifying against the corpus, and making what is damaged again to the same bytes."""

import shutil

import pytest
from test_prepare import tree
from tst_tools import cli

import tstdata
from tstdata.dataset_files import DatasetFiles
from tstdata.origin import sampled_records
from tstdata.shard_reading import read_tokens


@pytest.fixture
def own(corpus, tokenizer_dir, tmp_path):
    """A dataset over a corpus that a test may change."""
    source = shutil.copytree(corpus[0], tmp_path / "corpus")
    tstdata.prepare(source, tmp_path / "out", tokenizer_dir, 32, size_limit=70_000)
    return source, tmp_path / "out"


def damage(dataset, name):
    path = dataset / name
    data = bytearray(path.read_bytes())
    data[-9] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize("workers", [1, 3])
def test_several_workers_say_what_one_says(dataset_copy, workers):
    shards = sorted(path.name for path in dataset_copy.glob("shard*"))
    damage(dataset_copy, shards[3])
    (dataset_copy / shards[1]).unlink()
    report = tstdata.verify(dataset_copy, workers=workers)
    assert [(one.file, one.what) for one in report.problems] == [
        (one.file, one.what) for one in tstdata.verify(dataset_copy).problems
    ]
    assert {one.file for one in report.problems} == {shards[1], shards[3]}


@pytest.mark.parametrize(
    "names", [["shard.00000.mds"], ["shard.00003.mds", "shard.00004.mds"], ["index.json"]]
)
def test_damaged_shards_come_back_to_the_same_bytes(own, names):
    before = tree(own[1])
    for name in names:
        damage(own[1], name)
    (own[1] / "shard.00001.mds").unlink()
    report = tstdata.verify(own[1], repair=True)
    assert report.ok
    assert {*names, "shard.00001.mds"} <= set(report.repaired)
    assert len(report.repaired) == len(names) + 1 or "index.json" in names
    assert tree(own[1]) == before


def test_a_damaged_index_alone_is_made_from_the_shards_without_the_corpus(own):
    before = tree(own[1])
    damage(own[1], "index.json")
    shutil.rmtree(own[0])
    assert tstdata.verify(own[1], repair=True).repaired == ["index.json"]
    assert tree(own[1]) == before


def test_compressed_and_appended_datasets_are_repaired_too(own, corpus, tokenizer_dir, tmp_path):
    out = tmp_path / "zstd"
    arguments = (tokenizer_dir, 32)
    options = {"size_limit": 70_000, "compression": "zstd"}
    tstdata.prepare(corpus[0], out, *arguments, **options)
    tstdata.prepare(own[0], out, *arguments, **options, append=True)
    before = tree(out)
    for name in ("shard.00002.mds.zstd", "shard.00005.mds.zstd", "shard.00006.mds.zstd", "index.json"):
        damage(out, name)
    assert tstdata.verify(out, repair=True).ok
    assert tree(out) == before


def test_a_remote_dataset_is_repaired_where_it_lies(own, object_store):
    object_store.upload(own[1], "repair")
    before = object_store.tree("repair")
    object_store.write("repair/shard.00002.mds", b"junk")
    assert cli.main(["verify", object_store.uri("repair"), "--repair", "--workers", "2"]) == 0
    assert object_store.tree("repair") == before


def test_what_the_sources_no_longer_give_is_not_written(own, capsys):
    source, out = own
    damage(out, "shard.00000.mds")
    before = tree(out)
    path = source / "a.jsonl"
    path.write_bytes(path.read_bytes().replace(b"import", b"impart"))
    with pytest.raises(ValueError, match=r"changed|gives other bytes"):
        tstdata.verify(out, repair=True)
    assert tree(out) == before
    damage(out, "tokenizer/tokenizer.json")
    assert cli.main(["verify", str(out), "--repair"]) == 2
    assert "Copy it from the tokenizer" in capsys.readouterr().err


def test_a_sample_of_the_corpus_is_encoded_again_and_a_change_is_named(own, capsys):
    source, out = own
    assert tstdata.verify(out, sources=1000).ok
    assert cli.main(["verify", str(out), "--sources", "20"]) == 0
    path = source / "c.jsonl.zst"
    moved = path.rename(source / "elsewhere")
    report = tstdata.verify(out, sources=1000)
    assert [problem.file for problem in report.problems] == [str(path)]
    moved.rename(path)
    text = source / "e" / "003.py"
    data = text.read_bytes()
    text.write_bytes(data[:-2] + b"!" + data[-1:])
    report = tstdata.verify(out, sources=1000)
    assert [problem.file for problem in report.problems] == [str(text)]
    assert "byte 0 gives other ids now" in report.problems[0].what
    assert cli.main(["verify", str(out), "--sources"]) == 1


def test_a_sample_is_drawn_from_all_documents_in_order(small_dataset):
    card = tstdata.DatasetCard.load(small_dataset)
    files = DatasetFiles(small_dataset)
    records = sampled_records(files, card, card.num_documents + 9, 0)
    assert records[0].first_token == 0
    assert sum(record.num_tokens for record in records) == card.num_tokens
    ids = [
        one for r in records for one in read_tokens(files, card, r.first_token, r.first_token + r.num_tokens)
    ]
    assert ids == read_tokens(files, card, 0, card.num_tokens).tolist()
    some = sampled_records(files, card, 10, 3)
    assert len(some) == 10 == len({record.first_token for record in some})
    assert set(some) <= set(records)
