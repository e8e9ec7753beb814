"""Every format gives the same texts in the same order; what is broken is named by its place."""

import bz2
import gzip
import itertools
import json
import lzma

import orjson
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from written_sources import TEXTS, WRITERS, arrow_of, jsonl_of, parquet_of, read, write

from tstdata import source_file
from tstdata.documents import explain, read_documents
from tstdata.formats import FORMATS
from tstdata.reading import Document, Reject
from tstdata.source_file import Span
from tstdata.sources import find_sources

PACKERS = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}


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


@pytest.mark.parametrize("size", [1, 7, 1 << 18])
@pytest.mark.parametrize(
    ("name", "split", "data"),
    [
        ("a.jsonl", None, b'{"text": "a"}\n{"text" 1}\n{"text": "\xef\xbb\xbfb"}\n'),
        ("b.jsonl", None, b'{"text": "\xff"}\n'),
        ("c.jsonl", None, b""),
        ("a.json", None, b' [{"text": "a"}, {"text" 1}, {"text": "b"}]'),
        ("a.csv", None, b'"text",n\na,1\nb\n'),
        ("a.tsv", None, b"n\ttext\n1\ta\n"),
        ("a.txt", None, b"a \xef\xbb\xbf b"),
        ("b.txt", None, b"a\xff"),
        ("c.txt", "blank-lines", b"a\n\n\xef\xbb\xbfb"),
        ("e.txt", "blank-lines", b"\n \nb\n\nc"),
        ("d.txt", "<eot>", b"a<eot>\xef\xbb\xbfb"),
    ],
)
def test_a_byte_order_mark_at_the_beginning_is_no_text(tmp_path, monkeypatch, name, split, data, size):
    monkeypatch.setattr(source_file, "_LOCAL_BYTES", size)
    plain = read(write(tmp_path / name, data), split=split)
    marked = read(write(tmp_path / f"marked-{name}", b"\xef\xbb\xbf" + data), split=split)
    assert len(marked) == len(plain)
    for found, wanted in zip(marked, plain, strict=True):
        assert type(found) is type(wanted)
        if isinstance(wanted, Document):
            assert found.text == wanted.text
        elif wanted.byte:  # All but the first element lie three bytes further on.
            assert found.byte == wanted.byte + 3


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


@pytest.mark.parametrize("cuts", [[], [1], [20, 21, 22], [5, 900], range(1, 1000, 13), "lines"])
@pytest.mark.parametrize("size", [1, 50, 1 << 18])
def test_spans_of_lines_hold_each_document_once_whatever_the_cuts(tmp_path, cuts, size, monkeypatch):
    monkeypatch.setattr(source_file, "_LOCAL_BYTES", size)
    wanted = [*TEXTS, "no newline"]
    path = write(tmp_path / "a.jsonl", jsonl_of(wanted).removesuffix(b"\n"))
    (source,) = find_sources(path)
    data = path.read_bytes()
    if cuts == "lines":
        cuts = [at + 1 for at, byte in enumerate(data) if byte == ord("\n")]
    edges = [0, *(cut for cut in cuts if cut < len(data)), len(data)]
    found = []
    for start, stop in itertools.pairwise(edges):
        # A span begins at the first line that begins in it.
        first = 0 if start == 0 else data.find(b"\n", start - 1) + 1
        if (first and first < stop) or start == 0:
            found += read_documents(source, span=Span(first, stop, data[:first].count(b"\n") + 1))
    assert found == list(read_documents(source)) == [Document(*one) for one in enumerate(wanted, 1)]


# Two parsers read lines; what the faster one refuses is for the other. Long: more than the faster one takes.
LINES = [
    b'{"text": "a", "text": "b"}',
    b'{"text": "a", "n": 123456789012345678901234567890}',
    b'{"text": "a", "n": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    b'{"text": "a", "n": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    b'{"te\\u0078t": "a\\u0000\\n\\/\\ud83d\\ude00"}',
    b' {"text": "a"}\r',
    b'{"text": "\\ud800"}',
    b'{"text": "\xed\xa0\x80"}',
    b'{"text": "a"}{"text": "b"}',
    b'{"text": "a"}\0',
    b'{"text": "a\tb"}',
    b'{"text": "a", "n": NaN}',
    b'{"text": "a", "n": 1e999}',
    b'{"text": "a",}',
    b'\xef\xbb\xbf{"text": "a"}',
    b'{"text": {"text": "a"}}',
    b'{"texts": "a"}',
    b'["text"]',
    b"[]",
    b"null",
    b'"text"',
    b"",
    b" \t",
    b'{"text": "' + b"long " * 300_000 + b'"}',
    b'{"text": "' + b"long " * 300_000,
]


def test_a_line_means_the_same_alone_and_among_others(tmp_path):
    def is_document(line):
        try:
            return isinstance(orjson.loads(line)["text"], str)
        except (ValueError, TypeError, KeyError):
            return False

    good = b'{"text": "good"}'
    lines = [good, *itertools.chain.from_iterable((line, good) for line in LINES)]
    among = {one.place: one for one in read(write(tmp_path / "all.jsonl", b"\n".join(lines)))}
    for number, line in enumerate(LINES):
        place = 2 * number + 2
        found = read(write(tmp_path / "one.jsonl", good + b"\n" + line + b"\n"))
        assert found[0] == Document(1, "good") == among[place - 1]._replace(place=1)
        if is_document(line):
            assert found[1:] == [Document(2, orjson.loads(line)["text"])]
            assert among[place].text == found[1].text
        elif line.strip():
            assert found[1:] == [Reject(2, found[1].reason, len(good) + 1)]
            assert among[place].reason == found[1].reason
        else:
            assert found[1:] == []
            assert place not in among
    assert sum(map(is_document, LINES)) == 6


def test_spans_of_row_groups_hold_each_document_once(tmp_path):
    (source,) = find_sources(write(tmp_path / "a.parquet", parquet_of(TEXTS)))
    parts = [list(read_documents(source, span=Span(group, group + 1))) for group in range(3)]
    assert [one for part in parts for one in part] == [Document(*one) for one in enumerate(TEXTS)]
