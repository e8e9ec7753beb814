"""A stand-in for the Hugging Face hub, which can't be reached here: one data set's files, over its HTTP API.

The answers have the keys that huggingface_hub reads; nothing of the hub's own behaviour is claimed.
"""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0" * 40


class _Hub(BaseHTTPRequestHandler):
    root: Path
    repo: str

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        api = f"/api/datasets/{self.repo}"
        if path in (api, f"{api}/revision/main"):
            self._json({"id": self.repo, "sha": COMMIT})
        elif path.startswith(f"{api}/tree/"):
            folder = self.root / path[len(f"{api}/tree/") :].partition("/")[2]
            recursive = "recursive=True" in self.path or "recursive=true" in self.path
            found = sorted(folder.rglob("*") if recursive else folder.glob("*"))
            self._json([self._entry(one) for one in found])
        else:
            self._file(path)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if "{" in asked:
            paths = json.loads(asked)["paths"]
        else:
            paths = [unquote(one.partition("=")[2]) for one in asked.split("&") if one.startswith("paths=")]
        self._json([self._entry(self.root / path) for path in paths if (self.root / path).exists()])

    def _entry(self, path: Path) -> dict[str, object]:
        name = path.relative_to(self.root).as_posix()
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
        oid = hashlib.sha1(path.read_bytes()).hexdigest()
        last = {"id": COMMIT, "title": "added", "date": "2026-01-01T00:00:00.000Z"}
        return {"type": "file", "path": name, "oid": oid, "size": path.stat().st_size, "lastCommit": last}

    def _file(self, path: str) -> None:
        name = path.partition("/resolve/")[2].partition("/")[2]
        if not name or not (self.root / name).is_file():
            self.send_error(404)
            return
        data, status = (self.root / name).read_bytes(), 200
        start, stop = 0, len(data)
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop, status = int(first), int(last) + 1 if last else stop, 206
        self._answer(data[start:stop], "application/octet-stream", status)

    def _json(self, value: object) -> None:
        self._answer(json.dumps(value).encode(), "application/json")

    def _answer(self, data: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(data))),
            ("X-Repo-Commit", COMMIT),
            ("ETag", f'"{hashlib.sha1(data).hexdigest()}"'),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def hub_of(root: Path, repo: str) -> Iterator[str]:
    """Serves a directory as a data set of that name; yields the address for HF_ENDPOINT."""
    handler = type("Hub", (_Hub,), {"root": root, "repo": repo})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
