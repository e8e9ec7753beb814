"""The test servers serve; what they get is what they give."""

import subprocess

import pytest


@pytest.mark.parametrize("server", ["object_store", "second_object_store"])
def test_a_server_keeps_objects_and_lists_them(server, request, tmp_path):
    store = request.getfixturevalue(server)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.bin").write_bytes(b"\0" * 100)
    store.upload(tmp_path, "trial")
    store.write("trial/b", b"b")
    assert store.tree("trial") == {"b": b"b", "x/a.bin": b"\0" * 100}
    assert subprocess.run(["ps", "-p", str(store.pid)], capture_output=True, check=False).returncode == 0
