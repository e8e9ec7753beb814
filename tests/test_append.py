"""Appending: old shards stay, rows go on where they stopped, and a killed append leaves the old dataset."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from references import read_rows_with_streaming
from test_prepare import tree, write_jsonl
from test_resume import DIE_AT_A_COMMIT

import tstdata
from tstdata.inspection import inspect_row

LENGTH = 8
LIMIT = 700  # Bytes: 16 rows of 8 uint16 a shard.
TEXTS = [[f"one {n} " * (n % 7) for n in range(60)], ["", "two"] * 9, [f"three {n}" for n in range(50)]]
# Streaming leaves a compressed shard's file open for the garbage collector when it decompresses it.
pytestmark = pytest.mark.filterwarnings(r"ignore:unclosed file .*\.mds\.zstd:ResourceWarning")

CALL = """
import sys, tstdata
{before}
source, out, tokenizer = sys.argv[1:]
tstdata.prepare(source, out, tokenizer, 8, size_limit=700, append=True)
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    return [write_jsonl(folder / f"{number}.jsonl", texts) for number, texts in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def base(sources, tokenizer_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("base") / "out"
    tstdata.prepare(sources[0], out, tokenizer_dir, LENGTH, size_limit=LIMIT)
    return out


@pytest.fixture(scope="module")
def appended(base, sources, tokenizer_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("appended") / "out"
    shutil.copytree(base, out)
    for source in sources[1:]:
        tstdata.prepare(source, out, tokenizer_dir, LENGTH, size_limit=LIMIT, append=True)
    return out


def ids_of(dataset: Path) -> list[int]:
    rows = np.array(read_rows_with_streaming(dataset)).reshape(-1).tolist()
    return rows + list(tstdata.DatasetCard.load(dataset).leftover)


def records_of(dataset: Path) -> list[dict]:
    names = sorted(name for name in tstdata.DatasetCard.load(dataset).files if name.startswith("documents"))
    return [record for name in names for record in pq.read_table(dataset / name).to_pylist()]


def test_appended_sources_give_the_rows_and_documents_that_all_at_once_would(
    appended, sources, tokenizer_dir, tmp_path
):
    at_once = tmp_path / "at-once"
    tstdata.prepare(sources, at_once, tokenizer_dir, LENGTH, size_limit=LIMIT)
    assert ids_of(appended) == ids_of(at_once)
    assert records_of(appended) == records_of(at_once)
    one, other = (tstdata.DatasetCard.load(out) for out in (appended, at_once))
    for name in ("num_documents", "num_tokens", "num_rows", "leftover", "sources", "tokenizer", "recipe"):
        assert getattr(one, name) == getattr(other, name)
    assert len(one.parts) == 3


def test_an_append_touches_no_old_shard_and_verifies(base, appended):
    before, after = tree(base), tree(appended)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"index.json", "dataset.json"}
    assert tstdata.verify(appended).ok
    old = orjson.loads(before["index.json"])["shards"]
    assert orjson.loads(after["index.json"])["shards"][: len(old)] == old


def test_every_row_of_an_appended_dataset_is_found_and_traced(appended):
    card, ids = tstdata.DatasetCard.load(appended), ids_of(appended)
    records = records_of(appended)
    for row in range(card.num_rows):
        found = inspect_row(appended, row)
        assert found.ids == ids[row * LENGTH : (row + 1) * LENGTH]
        first, last = row * LENGTH, (row + 1) * LENGTH
        expected = [
            r for r in records if r["first_token"] < last and r["first_token"] + r["num_tokens"] > first
        ]
        assert [(one.path, one.place) for one in found.documents] == [
            (r["path"], r["place"]) for r in expected
        ]


def test_an_append_too_small_for_a_row_only_adds_to_the_leftover(base, tokenizer_dir, tmp_path):
    out = shutil.copytree(base, tmp_path / "out")
    before = tstdata.DatasetCard.load(out)
    while True:
        name = f"{tstdata.DatasetCard.load(out).num_documents}.txt"
        (tmp_path / name).write_bytes(b"")
        card = tstdata.prepare(
            tmp_path / name, out, tokenizer_dir, LENGTH, size_limit=LIMIT, append=True
        ).card
        assert tstdata.verify(out).ok
        if card.num_rows > before.num_rows:
            break
    assert (card.num_shards, card.leftover) == (before.num_shards + 1, ())
    assert [part.num_shards for part in card.parts[1:-1]] == [0] * (LENGTH - len(before.leftover) - 1)
    assert ids_of(out)[-1] == card.tokenizer.eos_id


def test_a_killed_append_leaves_the_old_dataset_valid_and_goes_on_to_the_same_bytes(
    base, appended, sources, tokenizer_dir, tmp_path
):
    once = shutil.copytree(base, tmp_path / "once")
    tstdata.prepare(sources[2], once, tokenizer_dir, LENGTH, size_limit=LIMIT, append=True)
    card = tstdata.DatasetCard.load(base)
    commits = 0
    out = shutil.copytree(base, tmp_path / "out")
    while True:
        commits += 1
        before = DIE_AT_A_COMMIT.replace("COUNT", str(commits))
        code = run(before, sources[2], out, tokenizer_dir)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        if tstdata.DatasetCard.load(out) == card:
            assert tstdata.verify(out).ok
            dataset = tstdata.StreamingBagDataset(
                local=str(out), bag_size=1, superposition_batches=0, batch_size=1, num_canonical_nodes=1
            )
            assert [row["input_ids"].tolist() for row in dataset] == read_rows_with_streaming(base)
            dataset.close()
    assert commits > 5
    assert tree(out) == tree(once)


def run(before: str, source: Path, out: Path, tokenizer: Path) -> int:
    command = [sys.executable, "-c", CALL.format(before=before), str(source), str(out), str(tokenizer)]
    return subprocess.run(command, check=False).returncode


def test_the_same_append_again_and_the_first_command_again_change_nothing(
    appended, sources, tokenizer_dir, tmp_path
):
    out = shutil.copytree(appended, tmp_path / "out")
    for source, append in ((sources[0], False), (sources[1], True), (sources[2], True)):
        report = tstdata.prepare(source, out, tokenizer_dir, LENGTH, size_limit=LIMIT, append=append)
        assert report.already_done
    assert tree(out) == tree(appended)


def test_what_an_append_leaves_out_is_its_own(base, sources, tokenizer_dir, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(sources[0].read_bytes() + b"no JSON\n")
    out = tmp_path / "out"
    arguments = (out, tokenizer_dir, LENGTH)
    tstdata.prepare(bad, *arguments, size_limit=LIMIT, on_error="skip")
    for _ in range(2):
        report = tstdata.prepare(sources[1], *arguments, size_limit=LIMIT, append=True)
        assert [part.num_rejected for part in report.card.parts] == [1, 0]
    tstdata.prepare(write_jsonl(tmp_path / "c.jsonl", TEXTS[2]), *arguments, size_limit=LIMIT, append=True)
    with pytest.raises(ValueError, match="left out 1 documents of these"):
        tstdata.prepare(bad, *arguments, size_limit=LIMIT)
    # The same name again, of another day.
    bad.write_bytes(sources[0].read_bytes())
    for _ in range(2):
        report = tstdata.prepare(bad, *arguments, size_limit=LIMIT, append=True)
    assert [part.num_rejected for part in report.card.parts] == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seq_len": 16}, "seq_len was 8, now 16"),
        ({"compression": "zstd"}, "compression was None, now 'zstd'"),
        ({"bos": True}, "bos_token was None"),
        ({"size_limit": 900}, "size_limit was 700, now 900"),
        ({"out": "none"}, "no finished bag-shard dataset"),
    ],
)
def test_an_append_of_another_kind_is_refused(base, sources, tokenizer_dir, tmp_path, changes, words):
    out = shutil.copytree(base, tmp_path / "out")
    arguments = {"out": out, "seq_len": LENGTH, "size_limit": LIMIT, **changes}
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        tstdata.prepare(sources[1], tokenizer=tokenizer_dir, append=True, **arguments)
    assert tree(out) == tree(base)
    assert not Path("none").exists()
