"""Source files of every format, written and read for the tests of reading."""

import csv
import io
import json

import orjson
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

from tstdata.documents import read_documents
from tstdata.reading import Document, Reject
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


def parquet_of(texts: list[str], rows_a_group: int = 3) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": texts}), sink, row_group_size=rows_a_group)
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


def read(path, **how) -> list[Document | Reject]:
    (source,) = find_sources(path, **how)
    return list(read_documents(source))


def write(path, data: bytes):
    path.write_bytes(data)
    return path
