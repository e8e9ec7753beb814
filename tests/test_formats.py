"""Every format gives the same texts in the same order; what is broken is named by its place."""

import bz2
import csv
import gzip
import io
import itertools
import json
import lzma

import orjson
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tstdata import source_file
from tstdata.documents import explain, read_documents
from tstdata.formats import FORMATS
from tstdata.reading import Document, Reject
from tstdata.source_file import SourceFile, Span
from tstdata.sources import find_sources

TEXTS = ["a", "", 'quo"te, comma', "line\nbreak\r\nand\\back", "é\u2028\x85 ☃", "]}[{", "x" * 700, "\ttab"]


def csv_of(texts: list[str], delimiter: str = ",") -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([["id", "text"], *([number, text] for number, text in enumerate(texts))])
    return out.getvalue().encode()


def arrow_of(texts: list[str], file: bool) -> bytes:
    table = pa.table({"id": range(len(texts)), "text": pa.array(texts, pa.string())})
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return sink.getvalue().to_pybytes()


def parquet_of(texts: list[str]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": texts}), sink, row_group_size=3)
    return sink.getvalue().to_pybytes()


def jsonl_of(texts: list[str]) -> bytes:
    return b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts)


WRITERS = {
    "a.jsonl": jsonl_of,
    "a.json": lambda texts: json.dumps([{"n": [1, {"]": "]"}], "text": text} for text in texts]).encode(),
    "b.json": lambda texts: json.dumps([{"text": text} for text in texts], indent=2).encode() + b"\n",
    "a.csv": csv_of,
    "a.tsv": lambda texts: csv_of(texts, "\t"),
    "a.arrow": lambda texts: arrow_of(texts, file=False),
    "a.feather": lambda texts: arrow_of(texts, file=True),
    "a.parquet": parquet_of,
}
PACKERS = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}


def read(path, **how) -> list[Document | Reject]:
    (source,) = find_sources(path, **how)
    return list(read_documents(source))


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("size", [1, 7, 1 << 18])
def test_every_format_gives_the_texts_it_was_written_with(tmp_path, monkeypatch, name, packed, size):
    (kind,) = (one for one in FORMATS.values() if f".{name.split('.')[1]}" in one.extensions)
    if packed and not kind.compressible:
        with pytest.raises(ValueError, match="can't be read inside"):
            find_sources(str(write(tmp_path / (name + packed), b"")))
        return
    monkeypatch.setattr(source_file, "_LOCAL_BYTES", size)
    path = write(tmp_path / (name + packed), PACKERS[packed](WRITERS[name](TEXTS)))
    assert [document.text for document in read(path)] == TEXTS


def write(path, data: bytes):
    path.write_bytes(data)
    return path


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.text(max_size=6)
    | st.sampled_from(['"', "\\", "]", "}", ","]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(st.dictionaries(st.text(max_size=3), json_values, max_size=3)),
    indent=st.sampled_from([None, 1]),
    size=st.integers(1, 9),
)
def test_a_json_array_streamed_in_pieces_holds_what_the_json_module_reads(tmp_path, records, indent, size):
    records = [{**record, "text": json.dumps(record)} for record in records]
    path = write(tmp_path / "a.json", json.dumps(records, indent=indent, ensure_ascii=False).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_file, "_LOCAL_BYTES", size)
        assert [one.text for one in read(path)] == [
            record["text"] for record in json.loads(path.read_bytes())
        ]


@pytest.mark.parametrize(
    ("name", "data", "places"),
    [
        ("a.jsonl", b'{"text": "a"}\n\n{"text": 1}\n{"text": "b"}\n', [(1, "a"), (3, "byte 15"), (4, "b")]),
        ("a.json", b' [{"text": "a"}, {"a" "b"}, 7, {"text": "c"}]',
         [(0, "a"), (1, "byte 17"), (2, "byte 28"), (3, "c")]),
        ("a.json", b"[]", []),
        ("a.json", b'[{"text": "a"},]', [(0, "a"), (1, "broken JSON")]),
        ("a.csv", b'id,text\n1,"a\nb"\n\n2\n3,\xff\n4,d\n',
         [(2, "a\nb"), (5, "has 1 fields"), (6, "not UTF-8"), (7, "d")]),
        ("a.csv", b"\xef\xbb\xbftext\r\nx\r\n", [(2, "x")]),
        ("a.csv", b'text\n"open\n', [(None, "can't be read as csv from line 2 on")]),
        ("a.csv", b"", [(None, "is empty")]),
        ("a.tsv", b"text\tn\n\"a\"\"b\tc\"\t2\n", [(2, 'a"b\tc')]),
        ("a.json", b'{"text": "a"}', [(None, "--format jsonl")]),
        ("a.json", b"", [(None, "is empty")]),
        ("a.json", b'[{"text": "a"}] x', [(0, "a"), (None, "goes on after the end")]),
        ("a.json", b'[{"text": "a"}, {"te', [(0, "a"), (None, "is cut off")]),
        ("a.json", b'[{"text": "a"}, {"text": "\xff"}]', [(0, "a"), (1, "not UTF-8 at byte 10")]),
        ("a.arrow", arrow_of(["a"] * 4, False)[:-99], [(0, "a"), (1, "a"), (2, "a"), (None, "can't be")]),
        ("a.arrow", arrow_of(["a"], False)[:-8], [(0, "a"), (None, "has no end mark")]),
        ("a.arrow", arrow_of(["a"], False) + b"x", [(0, "a"), (None, "goes on after the end")]),
        ("a.feather", arrow_of(["a"] * 9, True)[:-20], [(None, "can't be read as arrow after row 0")]),
        ("a.arrow", b"", [(None, "can't be read as arrow")]),
        ("a.parquet", b"", [(None, "can't be read as parquet")]),
    ],
)  # fmt: skip
def test_a_reject_tells_place_and_reason_and_reading_goes_on(tmp_path, name, data, places):
    (source,) = find_sources(write(tmp_path / name, data))
    found = list(read_documents(source))
    assert [one.place for one in found] == [place for place, _ in places]
    for one, (_, words) in zip(found, places, strict=True):
        assert words == one.text if isinstance(one, Document) else words in explain(source, one)


@pytest.mark.parametrize(
    ("split", "data", "documents"),
    [
        (None, b"a\n\nb", [(0, "a\n\nb")]),
        ("blank-lines", b"\n\na\nb\n \t\n\nc\r\n\r\nd", [(2, "a\nb"), (10, "c"), (15, "d")]),
        ("blank-lines", b"", []),
        ("<eot>", b"a<eot><eot>b\n<eot>\n", [(0, "a"), (6, ""), (11, "b\n")]),
        ("<eot>", b"", [(0, "")]),
        ("--", b"a---b", [(0, "a"), (3, "-b")]),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 1 << 18])
def test_text_is_split_where_it_was_asked(tmp_path, monkeypatch, split, data, documents, size):
    monkeypatch.setattr(source_file, "_LOCAL_BYTES", size)
    assert [tuple(one) for one in read(write(tmp_path / "a.txt", data), split=split)] == documents


@pytest.mark.parametrize("cuts", [[], [1], [20, 21, 22], [5, 900], range(1, 1000, 13)])
def test_spans_of_lines_hold_each_document_once_whatever_the_cuts(tmp_path, cuts):
    path = write(tmp_path / "a.jsonl", jsonl_of(TEXTS) + b'{"text": "no newline"}')
    (source,) = find_sources(path)
    data = path.read_bytes()
    edges = [0, *(cut for cut in cuts if cut < len(data)), len(data)]
    found = []
    for start, stop in itertools.pairwise(edges):
        # A span begins at the first line that begins in it.
        first = 0 if start == 0 else data.find(b"\n", start - 1) + 1
        if (first and first < stop) or start == 0:
            found += read_documents(source, span=Span(first, stop, data[:first].count(b"\n") + 1))
    assert found == list(read_documents(source))


def test_spans_of_row_groups_hold_each_document_once(tmp_path):
    (source,) = find_sources(write(tmp_path / "a.parquet", parquet_of(TEXTS)))
    parts = [list(read_documents(source, span=Span(group, group + 1))) for group in range(3)]
    assert [one for part in parts for one in part] == [Document(*one) for one in enumerate(TEXTS)]


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
        with pytest.raises(FileNotFoundError, match=r"memory://c/\*.csv matches no file"):
            find_sources("memory://c/*.csv")
    finally:
        memory.rm("/c", recursive=True)


def test_the_remote_globs_match_as_local_ones_do(tmp_path):
    import glob
    import os

    from tstdata.sources import _glob_pattern

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
