"""A committed file is there whole or not at all, also where it is written over one that nobody needs."""

import os
import threading

import numpy as np
import pytest

from tstdata.commit import commit_bytes, committing, make_spare
from tstdata.packing import PackedBatch
from tstdata.segments import (
    DOCUMENT,
    LeftOut,
    TokenStream,
    collect_segment,
    commit_segment,
    write_segment,
)
from tstdata.shards import ShardLayout, write_index, write_shard

LAYOUT = ShardLayout(seq_len=4, dtype="uint16")


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("data", [b"", b"short", b"longer than the spare one"])
def test_a_file_over_a_spare_one_is_as_if_it_were_new(tmp_path, data):
    commit_bytes(tmp_path / "old", b"no longer needed")
    inode = (tmp_path / "old").stat().st_ino
    make_spare(tmp_path / "old")
    assert everything(tmp_path) == ["spares/old"]
    commit_bytes(tmp_path / "new", data, over_spare=True)
    assert (tmp_path / "new").read_bytes() == data
    assert (tmp_path / "new").stat().st_ino == inode
    commit_bytes(tmp_path / "next", data, over_spare=True)
    assert (tmp_path / "next").read_bytes() == data
    assert everything(tmp_path) == ["new", "next"]


def test_what_was_not_asked_to_be_is_not_written_over_a_spare_one(tmp_path):
    commit_bytes(tmp_path / "old", b"no longer needed")
    make_spare(tmp_path / "old")
    make_spare(tmp_path / "not there")
    commit_bytes(tmp_path / "new", b"new")
    assert everything(tmp_path) == ["new", "spares/old"]


@pytest.mark.parametrize("over_spare", [False, True])
def test_a_block_that_fails_leaves_what_was_there(tmp_path, over_spare):
    commit_bytes(tmp_path / "old", b"no longer needed")
    make_spare(tmp_path / "old")
    commit_bytes(tmp_path / "a", b"before")
    with pytest.raises(TypeError), committing(tmp_path / "a", over_spare=over_spare) as file:
        file.writelines([b"after", "no bytes"])
    assert (tmp_path / "a").read_bytes() == b"before"
    assert everything(tmp_path) == (["a"] if over_spare else ["a", "spares/old"])


def test_a_spare_file_is_taken_once(tmp_path):
    for number in range(40):
        commit_bytes(tmp_path / f"old {number}", b"x" * number)
        make_spare(tmp_path / f"old {number}")

    def write(first):
        for number in range(first, first + 20):
            commit_bytes(tmp_path / f"new {number}", str(number).encode(), over_spare=True)

    # Threads of one process have one name aside, but never for one file at once.
    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 80, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert everything(tmp_path) == sorted(f"new {number}" for number in range(80))
    assert all((tmp_path / f"new {n}").read_bytes() == str(n).encode() for n in range(80))
    inodes = {(tmp_path / f"new {number}").stat().st_ino for number in range(80)}
    assert len(inodes) == 80


def test_the_ids_of_segments_are_written_over_spare_files_by_every_engine(tmp_path):
    segment = write_segment(tmp_path / "task-0", iter([]), "uint32", [], "x", LeftOut())
    segment.drop_tokens()
    assert (tmp_path / "spares" / "task-0.tokens").exists()
    files = collect_segment(write_segment(tmp_path / "task-1", iter([]), "uint32", [], "x", LeftOut()).stem)
    assert not any((tmp_path / "spares").iterdir())
    segment.drop_tokens()  # As a run that resumes may do once more.
    commit_segment(tmp_path / "task-1", files).drop_tokens()
    commit_segment(tmp_path / "task-2", files)
    assert not any((tmp_path / "spares").iterdir())
    assert (tmp_path / "task-2.tokens").read_bytes() == files[".tokens"]


def test_ids_are_read_while_another_thread_adds_more(tmp_path):
    class Slow(list):
        """A list that is read when something has been added to it, and something else not yet."""

        def append(self, one):
            super().append(one)
            if len(self) == 2:
                read.append(stream.read(0, 8).tolist())

    ids = np.arange(8, dtype="uint32")
    batch = (np.zeros(1, DOCUMENT), PackedBatch(ids, np.array([8])))
    segments = [
        write_segment(tmp_path / f"task-{n}", [batch], "uint32", [], "x", LeftOut()) for n in range(2)
    ]
    stream, read = TokenStream("uint32"), []
    stream._segments = Slow()
    for segment in segments:
        stream.append(segment)
    assert read == [ids.tolist()]
    assert stream.read(0, 16).tolist() == ids.tolist() * 2


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system can't be told")
def test_only_shards_are_taken_out_of_the_systems_memory(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, *how: told.append((os.fstat(file).st_size, how)))
    entry = write_shard(tmp_path, 0, np.arange(8).reshape(2, 4), LAYOUT)
    write_index(tmp_path, [entry])
    assert told == [(entry["raw_data"]["bytes"], (0, 0, os.POSIX_FADV_DONTNEED))]


@pytest.mark.parametrize(
    "commits", [commit_bytes, lambda path, data: write_shard(path.parent, 0, data, LAYOUT)]
)
def test_a_durable_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch, commits):
    told = []
    monkeypatch.setattr(
        os, "fsync", lambda file, real=os.fsync: told.append(os.fstat(file).st_size) or real(file)
    )
    monkeypatch.setattr(
        os, "replace", lambda *names, real=os.replace: told.append(names[1].name) or real(*names)
    )
    commits(tmp_path / "shard.00000.mds", np.arange(8).reshape(2, 4))
    assert told == [(tmp_path / "shard.00000.mds").stat().st_size, "shard.00000.mds"]
