"""`verify` finds every planted corruption, names the file, and never fails on it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tst_tools import cli

import tstdata
from tstdata.card import DatasetCard


def bad_files(dataset: Path) -> set[str]:
    return {problem.file for problem in tstdata.verify(dataset).problems}


def files_of(dataset: Path) -> list[Path]:
    return sorted(path for path in dataset.rglob("*") if path.is_file())


def test_a_dataset_as_it_was_written_is_intact(dataset_copy):
    assert tstdata.verify(dataset_copy).problems == []


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


def test_every_damage_to_every_kind_of_file_is_found_and_named(dataset_copy):
    for path in files_of(dataset_copy):
        name = str(path.relative_to(dataset_copy))
        data = path.read_bytes()
        for what, damaged in damages(data).items():
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            found = bad_files(dataset_copy)
            assert name in found, f"{name} {what}"
            # A bad shard does not make the others bad; a bad index or card may.
            assert found == {name} or name in ("index.json", "dataset.json"), f"{name} {what}"
            path.write_bytes(data)
    assert tstdata.verify(dataset_copy).ok


def test_two_swapped_shards_are_both_named(dataset_copy):
    first, second = sorted(dataset_copy.glob("shard.*"))[:2]
    first.rename(dataset_copy / "aside")
    second.rename(first)
    (dataset_copy / "aside").rename(second)
    assert bad_files(dataset_copy) == {first.name, second.name}


def test_a_directory_without_a_card_is_not_finished(dataset_copy, capsys):
    (dataset_copy / "dataset.json").unlink()
    assert cli.main(["verify", str(dataset_copy)]) == 1
    assert "dataset.json: is missing: the dataset is not finished" in capsys.readouterr().out


def test_a_card_that_was_edited_does_not_load(dataset_copy):
    path = dataset_copy / "dataset.json"
    path.write_bytes(path.read_bytes().replace(b'"num_rows": 4703', b'"num_rows": 4702'))
    with pytest.raises(ValueError, match="was changed after it was written"):
        DatasetCard.load(dataset_copy)


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


def test_the_command_exits_0_when_intact_and_1_when_not(dataset_copy, capsys):
    assert cli.main(["verify", str(dataset_copy)]) == 0
    assert ": intact, 5 shards" in capsys.readouterr().out
    shard = sorted(dataset_copy.glob("shard.*"))[2]
    shard.write_bytes(shard.read_bytes()[:-1])
    assert cli.main(["verify", str(dataset_copy)]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{shard.name}: ")
    assert "NOT intact" in out
    assert cli.main(["verify", str(dataset_copy / "none")]) == 2
