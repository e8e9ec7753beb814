"""A full disk: a clear error, nothing half written, and a rerun that goes on."""

import subprocess
import sys

import pytest
from conftest import SMALL_SEQ_LEN
from test_prepare import tree

import tstdata

# A file that may not grow beyond a limit fails as a file on a full disk does.
CALL = """
import resource, sys, tstdata.tasks
tstdata.tasks._TASK_BYTES = 100_000
limit = int(sys.argv[5])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    tstdata.prepare(*sys.argv[1:4], {seq_len}, size_limit=70_000, workers=int(sys.argv[4]))
except OSError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.parametrize(("workers", "limit"), [(1, 40_000), (2, 40_000), (1, 69_000)])
def test_a_full_disk_is_told_of_and_a_rerun_goes_on(
    tmp_path, corpus, tokenizer_dir, small_dataset, workers, limit
):
    out = tmp_path / "out"
    arguments = [str(corpus[0]), str(out), str(tokenizer_dir), str(workers), str(limit)]
    command = [sys.executable, "-c", CALL.format(seq_len=SMALL_SEQ_LEN), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "File too large: make room and run the same command again" in done.stdout
    assert done.stdout.count("make room") == 1
    assert str(out) in done.stdout
    assert not list(out.rglob("*.tmp"))
    assert not (out / "dataset.json").exists()
    tstdata.prepare(corpus[0], out, tokenizer_dir, SMALL_SEQ_LEN, size_limit=70_000)
    assert tree(out) == tree(small_dataset)
