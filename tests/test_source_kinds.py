"""Sources beyond a local file: keys of their own, saved datasets, other file systems; files that vanish."""

import glob
import gzip
import os

import orjson
import pytest
from written_sources import arrow_of, jsonl_of, parquet_of, read, write

from tstdata.documents import read_documents
from tstdata.source_file import SourceFile
from tstdata.sources import _glob_pattern, find_sources


def test_each_source_may_have_its_own_text_key(tmp_path):
    for name in ("a.jsonl", "c.jsonl"):
        write(tmp_path / name, b'{"text": "a", "body": "b"}')
    write(tmp_path / "b.parquet", parquet_of(["c"]))
    files = find_sources([f"{tmp_path}/a.jsonl::body", tmp_path / "b.parquet", f"{tmp_path}/c*.jsonl"])
    assert [next(iter(read_documents(file))).text for file in files] == ["b", "c", "a"]


def test_a_file_really_named_with_colons_is_that_file(tmp_path):
    path = write(tmp_path / "a::b.jsonl", jsonl_of(["x"]))
    assert [one.text for one in read(path)] == ["x"]


def saved(folder, parts: list[list[str]], names=("data-00001-of-2.arrow", "data-00000-of-2.arrow")):
    """As `datasets` 4 lays a saved dataset out."""
    folder.mkdir(parents=True)
    for name, texts in zip(names, parts, strict=True):
        write(folder / name, arrow_of(texts, file=False))
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "1", "_split": "train"}
    write(folder / "state.json", orjson.dumps(state))
    write(folder / "dataset_info.json", b"{}")
    return folder


def test_a_saved_dataset_is_its_listed_files_in_its_order(tmp_path):
    saved(tmp_path / "set", [["a", "b"], ["c"]])
    write(tmp_path / "set" / "cache-1.arrow", b"no part of it")
    (tmp_path / "z").mkdir()
    write(tmp_path / "z" / "z.txt", b"z")
    files = find_sources(tmp_path)
    assert [one.text for file in files for one in read_documents(file)] == ["a", "b", "c", "z"]


def test_a_saved_dataset_of_several_splits_asks_which(tmp_path):
    saved(tmp_path / "all" / "train", [["a"], []])
    saved(tmp_path / "all" / "test", [["b"], []])
    write(tmp_path / "all" / "dataset_dict.json", orjson.dumps({"splits": ["train", "test"]}))
    with pytest.raises(ValueError, match=r"of 2 splits: name the one you want: .*all/train, .*all/test"):
        find_sources(tmp_path / "all")
    assert [
        one.text for file in find_sources(tmp_path / "all" / "train") for one in read_documents(file)
    ] == ["a"]


def test_what_fsspec_knows_is_read_like_a_local_tree(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("c/b/x.jsonl", "c/a.jsonl.gz", "c/.hidden.jsonl", "c/b/y.txt"):
        data = jsonl_of([name])
        memory.pipe(f"/{name}", gzip.compress(data) if name.endswith("gz") else data)
    try:
        assert [file.path for file in find_sources("memory://c")] == [
            "memory://c/a.jsonl.gz",
            "memory://c/b/x.jsonl",
            "memory://c/b/y.txt",
        ]
        files = find_sources(["memory://c/*.jsonl*", "memory://c/b/x.jsonl::text"])
        assert [one.text for file in files for one in read_documents(file)] == [
            "c/a.jsonl.gz",
            "c/b/x.jsonl",
        ]
        assert [file.path for file in find_sources("memory://c/*/[xy].jsonl")] == ["memory://c/b/x.jsonl"]
        for source, out, number in (
            ("memory://c", "memory://c/b", 1),
            ("memory://c/**/*.jsonl*", "memory://c/b", 1),
            ("memory://c", "memory://c", 3),
            ("memory://c/b", "memory://c", 2),
            ("memory://c/b/x.jsonl", "memory://c/b", 1),
            ("memory://c", "c/b", 3),
        ):
            assert len(find_sources(source, out=out)) == number
        with pytest.raises(FileNotFoundError, match=r"memory://c/\*.csv matches no file"):
            find_sources("memory://c/*.csv")
    finally:
        memory.rm("/c", recursive=True)


def test_the_remote_globs_match_as_local_ones_do(tmp_path):
    names = ["a.txt", ".h.txt", "b/a.txt", "b/.h/c.txt", "b/c/d.txt", "b/c/.x", "ab.txt", "[a].txt", "a-txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, b"")
    for pattern in (
        "*",
        "**",
        "**/*",
        "**/*.txt",
        "b/**",
        "*/*.txt",
        "?.txt",
        "[!b]*",
        "[[]a].txt",
        "a*",
        "**/c/*",
        "b/**/d.txt",
        "*.[t]xt",
    ):
        expected = {
            path
            for path in glob.glob(pattern, root_dir=tmp_path, recursive=True)
            if os.path.isfile(tmp_path / path)
        }
        assert {name for name in names if _glob_pattern(pattern).fullmatch(name)} == expected, pattern


def test_a_vanished_file_is_said_to_have_vanished(tmp_path):
    source = SourceFile(str(tmp_path / "gone.jsonl"), "jsonl", None, 9, 9)
    for act in (source.check_unchanged, lambda: list(read_documents(source))):
        with pytest.raises(ValueError, match=r"gone\.jsonl vanished while it was in use"):
            act()
