"""What goes past the system's memory is what was to be written, whatever the file system makes of it."""

import errno
import fcntl
import io
import itertools
import os
import random

import pytest

from tstdata import direct_writing
from tstdata.commit import committing_large
from tstdata.direct_writing import BLOCK_BYTES, open_direct, write_blocks
from tstdata.joined import FilePart, Joined

DIRECT = getattr(os, "O_DIRECT", 0)
SIZES = [0, 1, 4096, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES + 4096, 3 * BLOCK_BYTES]


def some_bytes(size, seed=0):
    return random.Random(seed).randbytes(size)


def in_parts(data, folder, seed=0):
    """Yields readers of data, empty ones among them, in turn in memory and in a file with more around it."""
    draw = random.Random(seed)
    cuts = sorted([0, len(data), *(draw.randint(0, len(data)) for _ in range(6))])
    for number, (start, stop) in enumerate(itertools.pairwise(cuts)):
        if number % 2:
            path = folder / f"part-{number}"
            path.write_bytes(b"before" + data[start:stop] + b"after")
            yield FilePart(path, 6, stop - start)
        else:
            yield io.BytesIO(data[start:stop])


def is_direct(file):
    return bool(fcntl.fcntl(file, fcntl.F_GETFL) & DIRECT)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_written_in_blocks_holds_the_bytes_and_shows_them_in_order(tmp_path, size):
    data, shown = some_bytes(size), bytearray()
    with committing_large(tmp_path / "file") as file, Joined(in_parts(data, tmp_path)) as reader:
        write_blocks(reader, file, shown.extend)
    assert (tmp_path / "file").read_bytes() == shown == data
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


def test_whole_blocks_go_past_the_systems_memory_where_they_can(tmp_path, monkeypatch):
    try:
        os.close(os.open(tmp_path / "tried", os.O_WRONLY | os.O_CREAT | DIRECT))
        can = bool(DIRECT)
    except OSError:
        can = False
    written = []

    class Seen(io.FileIO):
        def write(self, data):
            written.append((len(data), is_direct(self)))
            return super().write(data)

    monkeypatch.setattr(direct_writing.io, "FileIO", Seen)
    with open_direct(tmp_path / "file") as file:
        write_blocks(io.BytesIO(some_bytes(2 * BLOCK_BYTES + 4096)), file, lambda _: None)
    assert written == [(BLOCK_BYTES, can), (BLOCK_BYTES, can), (4096, False)]


@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_refuses_to_open_so_is_written_to_as_ever(tmp_path, monkeypatch, refusal):
    opened = []

    def refusing(path, flags, mode=0o777, real=os.open):
        opened.append(bool(flags & DIRECT))
        if flags & DIRECT:
            raise OSError(refusal, os.strerror(refusal))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refusing)
    data = some_bytes(2 * BLOCK_BYTES + 5)
    with open_direct(tmp_path / "file") as file:
        write_blocks(io.BytesIO(data), file, lambda _: None)
    assert (tmp_path / "file").read_bytes() == data
    assert opened == [True]


class Refusing(io.FileIO):
    """Opens directly, and then can't write so."""

    def write(self, data):
        if is_direct(self):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return super().write(data)


class Shortening(io.FileIO):
    """Writes part of what it is given; where the next part begins, no disk can write directly."""

    def write(self, data):
        return super().write(data[:4096]) if is_direct(self) else super().write(data[: -(-len(data) // 3)])


@pytest.mark.parametrize("kind", [Refusing, Shortening])
def test_refused_and_short_writes_lose_nothing(tmp_path, monkeypatch, kind):
    data = some_bytes(2 * BLOCK_BYTES + 700, seed=3)
    with monkeypatch.context() as patch:
        patch.setattr(direct_writing.io, "FileIO", kind)
        file = open_direct(tmp_path / "file")
    with file:
        assert type(file) is kind
        write_blocks(io.BytesIO(data), file, lambda _: None)
    assert (tmp_path / "file").read_bytes() == data


def test_an_error_of_the_disk_is_raised(tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(direct_writing.io, "FileIO", Full)
    with pytest.raises(OSError, match=r"make room.*file'"), committing_large(tmp_path / "file") as file:
        write_blocks(io.BytesIO(b"data"), file, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_joined_readers_are_opened_in_turn_and_closed(tmp_path):
    opened = []

    def readers():
        for number in range(3):
            opened.append(io.BytesIO(bytes([number]) * 3))
            yield opened[-1]

    with Joined(readers()) as reader:
        assert reader.read(2) == b"\0\0"
        assert len(opened) == 1
        assert reader.read(9) == b"\0"
        assert reader.read(9) == b"\1\1\1"
        assert [one.closed for one in opened] == [True, False]
    assert [one.closed for one in opened] == [True, True]
