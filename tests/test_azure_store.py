"""Azure, as far as Azurite is like it: corpora are prepared there, and training streams from there.

Streaming writes the address itself, `https://ACCOUNT.blob.core.windows.net`. An account name that ends in `#`
makes the rest of that a fragment, which nobody sends: so its downloader, as it is, comes to a server here.
"""

import contextlib
import shutil
import subprocess
import time

import pytest
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient
from bag_datasets import ROWS, built_datasets
from handmade_shards import write_shards
from object_stores import free_ports

import tstdata

AZURITE, OPENSSL = shutil.which("azurite-blob"), shutil.which("openssl")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(AZURITE is None, reason="there is no azurite-blob here: npm install --global azurite"),
    pytest.mark.skipif(
        OPENSSL is None, reason="there is no openssl here, which makes the server's certificate"
    ),
    # Streaming reads a compressed shard without closing it.
    pytest.mark.filterwarnings("ignore:unclosed file <_io.BufferedReader name=.*shard:ResourceWarning"),
]
# Azurite's well-known one.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
ACCOUNT = "devstoreaccount1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory with the server's key and certificate."""
    folder = tmp_path_factory.mktemp("azure")
    command = [OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@contextlib.contextmanager
def azurite(folder, *options):
    """A server; yields its account's address."""
    (port,) = free_ports(1)
    command = [AZURITE, "--blobHost", "127.0.0.1", "--blobPort", str(port), *options]
    command += ["--skipApiVersionCheck", "--inMemoryPersistence", "--silent", "--disableTelemetry"]
    with open(folder / "azurite.log", "wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield f"127.0.0.1:{port}/{ACCOUNT}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def address(folder):
    """The address of a server that speaks https alone, as Azure does."""
    with azurite(folder, "--cert", "cert.pem", "--key", "key.pem") as address:
        yield address


@pytest.fixture
def container(folder, address, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(folder / "cert.pem"))
    monkeypatch.setenv("AZURE_ACCOUNT_NAME", f"{address}#")
    monkeypatch.setenv("AZURE_ACCOUNT_ACCESS_KEY", KEY)
    with container_of(folder, f"https://{address}") as made:
        yield made


@pytest.fixture
def plain_container(tmp_path, monkeypatch):
    """A container of a server without https: pyarrow's client takes no certificate of one's own."""
    with azurite(tmp_path) as address:
        connection = f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint=http://{address}"
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
        with container_of(tmp_path, f"http://{address}") as made:
            yield made


@contextlib.contextmanager
def container_of(folder, endpoint):
    """A new container, once the server answers."""
    deadline = time.monotonic() + 60
    with BlobServiceClient(endpoint, credential=KEY, retry_total=0) as client:
        while True:
            try:
                made = client.create_container(f"corpora{time.monotonic_ns()}")
                break
            except AzureError:
                assert time.monotonic() < deadline, (folder / "azurite.log").read_text()
                time.sleep(0.2)
        yield made


@pytest.fixture
def read(tmp_path):
    """Reads two epochs: phase (i) ends in the second."""
    with built_datasets(tmp_path, tmp_path) as build:

        def read_from(remote):
            dataset = build(remote=remote)
            return [[sample["input_ids"].tolist() for sample in dataset] for _ in range(2)]

        yield read_from


def upload(folder, container, prefix):
    """Puts a dataset there and returns its address, whose first part is where an account would be named."""
    for path in folder.iterdir():
        container.upload_blob(f"{prefix}/{path.name}", path.read_bytes())
    return f"azure://account/{container.container_name}/{prefix}"


@pytest.mark.parametrize("compression", [None, "zstd:3"])
def test_both_phases_come_from_azure_in_the_local_order(container, read, tmp_path, compression):
    shards = write_shards(tmp_path / "shards", ROWS, compression=compression)
    assert read(upload(shards, container, "streamed")) == read(str(shards))


def test_a_shard_missing_from_azure_is_named(container, read, tmp_path):
    shards = write_shards(tmp_path / "shards", ROWS)
    (shards / "shard.00002.mds").unlink()
    with pytest.raises(
        OSError, match=r"shard.00002.mds of azure://\S+/holed could not be .* It is not there"
    ):
        read(upload(shards, container, "holed"))


def test_a_corpus_in_azure_is_prepared_to_azure_as_it_would_be_here(plain_container, tokenizer_dir, tmp_path):
    text = "".join(f'{{"text": "document {number} of some words"}}\n' for number in range(300))
    (tmp_path / "a.jsonl").write_text(text)
    plain_container.upload_blob("corpus/a.jsonl", text)
    options = {"size_limit": 2_000, "work_dir": tmp_path / "work"}
    tstdata.prepare(tmp_path / "a.jsonl", tmp_path / "here", tokenizer_dir, 8, **options)
    account = f"abfs://{plain_container.container_name}"
    report = tstdata.prepare(f"{account}/corpus", f"{account}/there", tokenizer_dir, 8, **options)
    assert report.card.num_documents == 300
    assert tstdata.verify(f"{account}/there").ok
    for path in [*(tmp_path / "here").glob("*.mds"), tmp_path / "here" / "index.json"]:
        assert plain_container.download_blob(f"there/{path.name}").readall() == path.read_bytes()
