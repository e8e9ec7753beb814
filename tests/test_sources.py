"""Which files a source names, in which order, and of which format."""

import os

import pytest

from tstdata.sources import find_sources


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("a-b/x.txt", "a/y.txt", "a/x.py", "z.jsonl", "B.md", ".hidden/h.txt", "a/.h.txt"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    cache = tmp_path / "tree" / "a" / "__pycache__"
    cache.mkdir()
    (cache / "x.pyc").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "tree"


def paths(*sources: str) -> list[str]:
    return [file.path for file in find_sources(sources)]


def test_files_of_a_directory_come_by_name_and_hidden_ones_are_left_out(tree):
    assert paths("tree") == ["tree/B.md", "tree/a/x.py", "tree/a/y.txt", "tree/a-b/x.txt", "tree/z.jsonl"]


def test_sources_keep_the_order_in_which_they_are_given(tree):
    assert paths("tree/z.jsonl", "tree/a", "tree/B.md") == [
        "tree/z.jsonl",
        "tree/a/x.py",
        "tree/a/y.txt",
        "tree/B.md",
    ]


def test_a_glob_names_its_files_by_name(tree):
    assert paths("tree/**/x.*[!c]") == ["tree/a/x.py", "tree/a-b/x.txt"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tree):
    (tree / "[1].txt").write_text("")
    assert paths("tree/[1].txt") == ["tree/[1].txt"]


@pytest.mark.parametrize(
    ("name", "source_format", "compression"),
    [
        ("a.jsonl", "jsonl", None),
        ("a.JSONL.GZ", "jsonl", "gzip"),
        ("a.ndjson.zst", "jsonl", "zstd"),
        ("a.parquet", "parquet", None),
        ("a.py", "text", None),
        ("a.txt.zst", "text", "zstd"),
    ],
)
def test_the_extension_tells_the_format(tmp_path, name, source_format, compression):
    (tmp_path / name).write_text("")
    (found,) = find_sources(tmp_path / name)
    assert (found.format, found.compression) == (source_format, compression)


def test_a_stated_format_holds_whatever_the_extension(tree):
    (tree / "data.json").write_text("{}")
    assert [file.format for file in find_sources("tree/data.json")] == ["json"]
    assert [file.format for file in find_sources("tree/data.json", "jsonl")] == ["jsonl"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("tree/odd.bin", "odd.bin: its extension '.bin' does not tell its format.*--format"),
        ("tree/none.txt", "none.txt does not exist.*Name a file, a directory, a glob"),
        ("tree/*.csv", "matches no file"),
        ("odd://bucket/a.jsonl", "odd:// can't be read"),
        ("::text", "write PATH::KEY"),
        ("tree/t.parquet.gz", "can't be read inside .gz"),
        ("tree/empty", "directory without files"),
    ],
)
def test_a_source_that_can_not_be_read_is_refused_by_name(tree, source, words):
    (tree / "odd.bin").write_text("")
    (tree / "t.parquet.gz").write_text("")
    (tree / "empty").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        find_sources([source])


def test_no_sources_and_unknown_formats_are_refused(tree):
    with pytest.raises(ValueError, match="no sources"):
        find_sources([])
    with pytest.raises(ValueError, match="format is 'word'"):
        find_sources(["tree"], "word")


def test_a_file_named_twice_is_taken_twice_with_a_warning(tree):
    with pytest.warns(UserWarning, match="named by more than one source"):
        assert paths("tree/B.md", "tree/*.md") == ["tree/B.md", "tree/B.md"]


def test_links_are_followed_but_not_in_circles_and_pipes_are_no_files(tree, tmp_path):
    elsewhere = tmp_path / "elsewhere" / "inner"
    elsewhere.mkdir(parents=True)
    (elsewhere / "far.txt").write_text("x")
    before = paths("tree")
    (tree / "zlink").symlink_to(tmp_path / "elsewhere")
    (tree / "zround").symlink_to(tree)
    (elsewhere / "back").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tree / "pipe.txt")
    (tree / "zlink2").symlink_to(tmp_path / "elsewhere")
    (elsewhere / "over").symlink_to(tmp_path)
    assert paths("tree") == [*before, "tree/zlink/inner/far.txt"]
    (tree / "broken.txt").symlink_to(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"broken\.txt"):
        paths("tree")


def test_a_directory_that_can_not_be_listed_is_an_error(tree, monkeypatch):
    listed = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    (tree / "secret").mkdir()
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="secret"):
        paths("tree")


def test_what_lies_in_the_output_is_no_source(tree):
    before = paths("tree")
    (tree / "out").mkdir()
    (tree / "out" / "shard.00000.mds").write_text("")
    (tree / "out-of-that.txt").write_text("")
    found = [file.path for file in find_sources("tree", out="tree/out")]
    assert sorted(found) == sorted([*before, "tree/out-of-that.txt"])
    # What is named below the output, or is the output, is meant.
    (tree / "out" / "raw").mkdir()
    (tree / "out" / "raw" / "a.txt").write_text("")
    for source in ("tree/out/raw", "tree/out/raw/*.txt", "tree/out/raw/a.txt"):
        assert [file.path for file in find_sources(source, out="tree/out")] == ["tree/out/raw/a.txt"]
    found = [file.path for file in find_sources("tree/**/*.txt", out="tree/out")]
    assert found
    assert not [path for path in found if path.startswith("tree/out/")]
    with pytest.raises(ValueError, match="does not tell its format"):
        find_sources("tree")


def test_a_file_that_changes_while_in_use_is_refused(tree):
    (file,) = find_sources("tree/B.md")
    file.check_unchanged()
    os.utime(tree / "B.md", ns=(1, 1))
    with pytest.raises(ValueError, match="changed while it was in use"):
        file.check_unchanged()
