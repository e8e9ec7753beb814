"""A proxy on 127.0.0.1 before a real S3 server that spoils some of its answers.

Requests go on as they came, Host and all: their signatures stay valid.
"""

import contextlib
import http.client
import http.server
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
_STATUS = {"unavailable": (503, "ServiceUnavailable"), "missing": (404, "NoSuchKey")}
_STATUS["expired"] = (403, "ExpiredToken")


@dataclass
class Fault:
    """What happens to requests whose path matches `keys`, the first `times` times (None: always).

    `kind`: "unavailable", "missing" and "expired" are answers of S3; "slow" waits `seconds` before the first
    byte; of bodies alone, "cut" ends the connection in the middle, "truncated" says that the half is all,
    "wrong" has one other byte, and no checksum of S3's, which not all stores have.
    """

    kind: str
    keys: str
    times: int | None = None
    seconds: float = 0.0
    happened: int = field(default=0, init=False)


class FaultyStore:
    """The proxy; `faults` may be changed at any time, `endpoint` is what clients take for the store's."""

    def __init__(self, endpoint: str) -> None:
        self.upstream = urlsplit(endpoint).netloc
        self.faults: Sequence[Fault] = ()
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.store = self
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def draw(self, path: str, has_body: bool) -> Fault | None:
        """Returns what happens to a request."""
        with self._lock:
            for fault in self.faults:
                spoils_body = fault.kind in ("cut", "truncated", "wrong")
                if not re.search(fault.keys, path) or (spoils_body and not has_body):
                    continue
                if fault.times is None or fault.happened < fault.times:
                    fault.happened += 1
                    return fault
        return None

    def close(self) -> None:
        """Stops serving."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def before(endpoint: str) -> Iterator[FaultyStore]:
    """Runs a proxy before a server."""
    store = FaultyStore(endpoint)
    try:
        yield store
    finally:
        store.close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    store: FaultyStore

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what the faults are for."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        fault = self.server.store.draw(self.path, self.command == "GET")
        kind = fault.kind if fault else None
        if kind in _STATUS:
            status, code = _STATUS[kind]
            self._answer(status, [("Content-Type", "application/xml")], _ERROR.format(code=code).encode())
            return
        if kind == "slow":
            self.server.store.closing.wait(fault.seconds)
        status, headers, body = self._forward()
        if kind == "wrong":
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
            headers = [(name, value) for name, value in headers if "checksum" not in name.lower()]
        if kind == "truncated":
            body = body[: len(body) // 2]
        self._answer(status, headers, body, cut=kind == "cut")

    do_HEAD = do_PUT = do_GET  # noqa: N815

    def _forward(self) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.store.upstream, timeout=60)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        length = int(self.headers.get("Content-Length") or 0)
        connection.endheaders(self.rfile.read(length) if length else None)
        answer = connection.getresponse()
        result = answer.status, answer.getheaders(), answer.read()
        connection.close()
        return result

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        length = dict(headers).get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
