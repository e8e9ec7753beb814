"""Bad input files: for each a name, its bytes, and a pattern of what must be said of it."""

import gzip
import lzma
import os

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

GOOD = b'{"text": "good"}\n'


def parquet(columns: dict) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def parquet_of_two_columns() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 2, names=["text", "text"]), sink)
    return sink.getvalue().to_pybytes()


def bad_utf8_parquet() -> bytes:
    texts = pa.array([b"good", b"\xff\xfe"], pa.binary())
    return parquet({"text": pa.Array.from_buffers(pa.string(), 2, texts.buffers())})


LINES = GOOD * 4000
GZ, ZST = gzip.compress(os.urandom(9) + LINES), zstandard.compress(LINES)

BAD = {
    "broken JSON": ("a.jsonl", GOOD + b'{"text": "x"', r"line 2 \(byte 17\): broken JSON at column \d+"),
    "empty object": ("a.jsonl", GOOD + b"{}\n", "line 2 .*no key 'text'; its keys are none"),
    "missing key": (
        "a.jsonl",
        b'{"body": "x", "id": 1}\n',
        "line 1 .*no key 'text'; its keys are 'body', 'id'",
    ),
    "wrong type": ("a.jsonl", GOOD + b'{"text": 7}\n', "line 2 .*the key 'text' holds a number"),
    "null": ("a.jsonl", b'{"text": null}\n', "line 1 .*the key 'text' holds null"),
    "not an object": ("a.jsonl", b'["x"]\n', "line 1 .*holds a list"),
    "bytes in JSON": ("a.jsonl", GOOD + b'{"text": "\xff"}\n', "line 2 .*not UTF-8 at byte 10"),
    "lone surrogate": ("a.jsonl", b'{"text": "\\ud800"}\n', "line 1 .*broken JSON"),
    "UTF-16": ("a.jsonl", GOOD.decode().encode("utf-16"), "line 1 .*not UTF-8 at byte 0"),
    "mark in the middle": ("a.jsonl", GOOD + b"\xef\xbb\xbf" + GOOD, "line 2 .*broken JSON"),
    "bytes in text": ("a.txt", b"good \xff", r"a\.txt byte 0: not UTF-8 at byte 5"),
    "cut-off gz": ("a.jsonl.gz", gzip.compress(LINES)[:-9], "is cut off: its gzip stream does not end"),
    "empty gz": ("a.jsonl.gz", b"", "is cut off"),
    "damaged gz": ("a.txt.gz", GZ[:40] + b"\0\0\0\0" + GZ[44:], "is not valid gzip near byte|not UTF-8"),
    "no gz": ("a.jsonl.gz", GOOD, "is not valid gzip near byte 0"),
    "cut-off zst": ("a.jsonl.zst", ZST[:-5], "is cut off: its zstd stream does not end"),
    "empty zst": ("a.txt.zst", b"", "is cut off"),
    "no zst": ("a.jsonl.zst", GOOD, "is not valid zstd near byte 0"),
    "cut-off xz": ("a.jsonl.xz", lzma.compress(LINES)[:-20], "is cut off: its xz stream does not end"),
    "broken array": ("a.json", b'[{"text": "a"}, {"text" "b"}]', r"element 1 \(byte 16\): broken JSON"),
    "cut-off array": ("a.json", b'[{"text": "a"}, {"te', "is cut off: its JSON array does not end"),
    "lines as array": ("a.json", GOOD, "begins with '{'.*--format jsonl"),
    "open quote in csv": ("a.csv", b'text\n"open\n', "can't be read as csv from line 2 on"),
    "short csv record": ("a.csv", b"n,text\n1,a\n2\n", "line 3: has 1 fields; the first line names 2"),
    "no column in csv": ("a.csv", b"n,body\n1,a\n", "has no column 'text'; its columns are 'n', 'body'"),
    "csv in UTF-16": ("a.csv", "n,tëxt\n1,a\n".encode("utf-16"), "has no column 'text'"),
    "csv in Latin-1": ("a.csv", "n,tëxt\n1,a\n".encode("latin-1"), "has no column 'text'"),
    "two columns of a name": ("a.parquet", parquet_of_two_columns(), "has 2 columns named 'text'"),
    "empty csv": ("a.csv", b"", "is empty"),
    "feather 1": ("a.feather", b"FEA1" + bytes(60) + b"FEA1", "is feather of version 1, which is not read"),
    "empty arrow": ("a.arrow", b"", "can't be read as arrow"),
    "empty parquet": ("a.parquet", b"", "can't be read as parquet"),
    "no parquet": ("a.parquet", b"PAR1 no", "can't be read as parquet"),
    "cut-off parquet": ("a.parquet", parquet({"text": ["a"] * 99})[:-30], "can't be read as parquet"),
    "missing column": ("a.parquet", parquet({"body": ["a"], "n": [1]}), "no column 'text'; .*'body', 'n'"),
    "wrong column": ("a.parquet", parquet({"text": [1, 2]}), "has int64 in the column 'text'"),
    "null in parquet": ("a.parquet", parquet({"text": ["a", None]}), "row 1: the text is null"),
    "bytes in parquet": ("a.parquet", bad_utf8_parquet(), "row 1: not UTF-8 at byte 0"),
}
