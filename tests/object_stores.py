"""Object-store servers for tests: started on free ports of 127.0.0.1, stopped by whoever started them."""

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import orjson
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ACCESS_KEY, SECRET_KEY = "test-key", "test-secret"
_PATIENCE_S = 60


@dataclass
class ObjectStore:
    """A running S3 server; `bucket` exists and was empty at the start. `pid` is the server's."""

    name: str
    endpoint: str
    bucket: str
    pid: int
    client: Any = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """What SDKs look for: Streaming takes its endpoint from S3_ENDPOINT_URL."""
        return {
            "S3_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def uri(self, path: str = "") -> str:
        """Returns the s3:// address of a key."""
        return f"s3://{self.bucket}/{path}"

    def keys(self, prefix: str = "") -> list[str]:
        """Returns the keys below a prefix, sorted."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", ()))

    def read(self, key: str) -> bytes:
        """Returns an object."""
        return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def write(self, key: str, data: bytes) -> None:
        """Puts an object."""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def upload(self, folder: Path, prefix: str) -> None:
        """Puts all files of a directory below a prefix."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.write(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def tree(self, prefix: str) -> dict[str, bytes]:
        """Returns all objects below a prefix by their path below it."""
        return {key[len(prefix) :].lstrip("/"): self.read(key) for key in self.keys(prefix)}


def free_ports(number: int) -> list[int]:
    """Returns ports that nobody listens on; weed takes each port + 10,000 too."""
    found: list[int] = []
    while len(found) < number:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 10_000))
            if port not in found:
                found.append(port)
    return found


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[ObjectStore]:
    """Runs SeaweedFS, a real store that checks credentials, on data in `folder`."""
    master, volume, filer, s3 = free_ports(4)
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = folder / "s3.json"
    config.write_bytes(orjson.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    command = [
        *(str(Path(sys.executable).parent / "weed"), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-dir={folder / 'data'}", f"-master.port={master}", f"-volume.port={volume}"),
        *("-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}", f"-s3.config={config}"),
        # Two more listeners, on ports that a second server would want too.
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        *("-volume.max=20", "-master.volumeSizeLimitMB=64", "-master.telemetry=false"),
    ]
    with _running("seaweedfs", command, s3, folder) as store:
        yield store


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[ObjectStore]:
    """Runs moto's server, a second one that guards against the first one's habits; all is in its memory."""
    (port,) = free_ports(1)
    command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with _running("moto", command, port, folder) as store:
        yield store


@contextlib.contextmanager
def _running(name: str, command: Sequence[str], port: int, folder: Path) -> Iterator[ObjectStore]:
    log = folder / f"{name}.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "HOME": str(folder)},
        )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 3}),
        )
        _make_bucket(client, "corpora", process, log)
        try:
            yield ObjectStore(name, endpoint, "corpora", process.pid, client)
        finally:
            client.close()
    finally:
        process.kill()  # Nothing of it is kept, and weed takes its time to end.
        process.wait()


def _make_bucket(client: Any, bucket: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until the server makes a bucket and keeps an object in it: it answers before it can."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=bucket)
            client.put_object(Bucket=bucket, Key="ready", Body=b"ready")
            client.delete_object(Bucket=bucket, Key="ready")
            return
        except (BotoCoreError, ClientError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text("utf-8", "replace")[-2000:]
                raise RuntimeError(f"{process.args[0]} does not serve ({error}):\n{tail}") from error
            time.sleep(0.2)
