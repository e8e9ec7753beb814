"""Parquet and Arrow streams that are open in Python: no thread of Arrow's touches them; parquet by pieces.

Not so Arrow's file format (feather): Arrow reads its end by a thread of its own, whatever it is told.
"""

import io
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from written_sources import TEXTS, WRITERS, write

from tstdata.parquet import iter_batches, open_parquet

# Threads of this process before and after, by the operating system's own count.
COUNTED = """
import os, sys
import pyarrow, pyarrow.parquet, pyarrow.compute
import tstdata
from tstdata import documents, document_ends, origin, pieces, sources, trace
from tstdata.dataset_files import DatasetFiles
path = sys.argv[1]
before = set(os.listdir("/proc/self/task"))
{}
left = set(os.listdir("/proc/self/task")) - before
assert not left, f"{{len(left)}} threads"
"""
OF_A_DATASET = {
    "trace": "assert trace.trace(path, tstdata.DatasetCard.load(path), 0, 10**6)",
    "origin": "assert origin.sampled_records(DatasetFiles(path), tstdata.DatasetCard.load(path), 9, 0)",
    "document ends": (
        "ends = document_ends.DocumentEnds(DatasetFiles(path), tstdata.DatasetCard.load(path), True)\n"
        "assert len(ends.take(0, 10**6))"
    ),
}


def run(code: str, path) -> str:
    command = [sys.executable, "-c", COUNTED.format(code), str(path)]
    return subprocess.run(command, capture_output=True, text=True).stderr


@pytest.mark.parametrize("reader", OF_A_DATASET)
def test_documents_of_a_dataset_are_read_by_the_calling_thread(small_dataset, reader):
    assert run(OF_A_DATASET[reader], small_dataset) == ""


def compressed_stream(texts: list[str]) -> bytes:
    """What Arrow would decompress by threads, one for each column."""
    table = pa.table(dict.fromkeys(("text", "b", "c", "d"), texts * 100))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "written"),
    [("a.parquet", WRITERS["a.parquet"]), ("a.arrow", WRITERS["a.arrow"]), ("b.arrow", compressed_stream)],
)
def test_a_source_is_read_by_the_calling_thread(tmp_path, name, written):
    path = write(tmp_path / name, written(TEXTS))
    code = "(source,) = sources.find_sources(path)\nassert list(documents.read_documents(source))"
    assert run(code + "\nassert pieces.cut_file(source, 100)", path) == ""


def test_threads_of_arrow_are_counted(tmp_path):
    path = write(tmp_path / "a.parquet", WRITERS["a.parquet"](TEXTS))
    told = run("opened = open(path, 'rb')\npyarrow.parquet.ParquetFile(opened).read_row_group(0)", path)
    assert "threads" in told


class Recorded(io.BytesIO):
    """A file that remembers the largest number of bytes that was asked of it at once."""

    largest = 0

    def read(self, size: int | None = -1) -> bytes:
        self.largest = max(self.largest, len(self.getbuffer()) if size is None or size < 0 else size)
        return super().read(size)


def test_a_large_row_group_is_not_read_whole():
    numbers = np.random.default_rng(0).integers(0, 1 << 60, 1 << 17)
    sink = pa.BufferOutputStream()
    how = {"compression": "none", "use_dictionary": False, "data_page_size": 1 << 12}
    pq.write_table(pa.table({"a": numbers}), sink, row_group_size=len(numbers), **how)
    opened = Recorded(sink.getvalue().to_pybytes())
    file = open_parquet(opened, 1 << 16)
    assert file.num_row_groups == 1
    found = [batch.column(0).to_numpy() for batch in iter_batches(file, 1000, ["a"])]
    assert np.array_equal(np.concatenate(found), numbers)
    assert opened.largest <= 1 << 17 < numbers.nbytes
