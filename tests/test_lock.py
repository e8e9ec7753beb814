"""Two runs on one output: the second is refused while the first lives, and takes over from a dead one."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from test_prepare import write_jsonl

import tstdata
from tstdata.lock import hold

HOLD = """
import pathlib, sys
from tstdata.lock import hold
with hold(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "out" / ".prepare"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_the_second_run_is_refused_naming_the_first_and_takes_over_when_it_is_dead(
    tmp_path, tokenizer_dir, holder
):
    write_jsonl(tmp_path / "a.jsonl", ["text"] * 9)
    arguments = (tmp_path / "a.jsonl", tmp_path / "out", tokenizer_dir, 4)
    with pytest.raises(OSError, match=rf"by process {holder.pid} on {socket.gethostname()}: wait until"):
        tstdata.prepare(*arguments)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert tstdata.prepare(*arguments).card.num_documents == 9
    assert not (tmp_path / "out" / ".prepare").exists()


def test_a_lock_leaves_nothing_where_nothing_was_made(tmp_path):
    with hold(tmp_path / "out" / ".prepare"):
        assert (tmp_path / "out" / ".prepare").exists()
    assert not (tmp_path / "out").exists()
