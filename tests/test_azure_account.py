"""Which Azure account an `abfs://` address leads to, and which path in it: by hand-written cases."""

import pytest

from tstdata.azure_account import AzureAccount, account_of, path_of
from tstdata.file_systems import resolve

EMULATOR = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=a2V5PT0=;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;"
)
NAME_AND_KEY = {"AZURE_ACCOUNT_NAME": "ours", "AZURE_ACCOUNT_ACCESS_KEY": "a2V5"}


@pytest.fixture
def environment(monkeypatch):
    """Sets what an SDK would look for, and nothing else."""
    names = ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT_ACCESS_KEY")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    return lambda values: [monkeypatch.setenv(name, value) for name, value in values.items()]


@pytest.mark.parametrize(
    ("place", "values", "account"),
    [
        ("corpora", NAME_AND_KEY, ("ours", "a2V5", None)),
        ("corpora", {"AZURE_ACCOUNT_NAME": "ours"}, ("ours", None, None)),
        ("corpora@ours.dfs.core.windows.net", NAME_AND_KEY, ("ours", "a2V5", None)),
        ("corpora@other.dfs.core.windows.net", NAME_AND_KEY, ("other", None, None)),
        ("other.blob.core.windows.net", {}, ("other", None, None)),
        (
            "corpora",
            {"AZURE_STORAGE_CONNECTION_STRING": EMULATOR, **NAME_AND_KEY},
            ("devstoreaccount1", "a2V5PT0=", "http://127.0.0.1:10000/devstoreaccount1"),
        ),
    ],
)
def test_the_account_is_the_addresses_or_the_environments(environment, place, values, account):
    environment(values)
    assert account_of(place) == AzureAccount(*account)


def test_an_address_without_an_account_is_refused_with_what_to_write(environment):
    with pytest.raises(ValueError, match=r"abfs://corpora@ACCOUNT\.dfs\.core.*AZURE_ACCOUNT_NAME"):
        resolve("abfs://corpora/a.jsonl")
    environment({"AZURE_STORAGE_CONNECTION_STRING": "AccountKey=a2V5"})
    with pytest.raises(ValueError, match="no AccountName="):
        resolve("abfs://corpora/a.jsonl")


def test_a_pyarrow_without_azure_is_told_of(monkeypatch):
    monkeypatch.delattr("pyarrow.fs.AzureFileSystem")
    with pytest.raises(ValueError, match="pip install --upgrade pyarrow"):
        AzureAccount("ours").file_system()


@pytest.mark.parametrize(
    "uri",
    [
        "abfs://corpora/web/a.jsonl",
        "abfss://corpora@ours.dfs.core.windows.net/web/a.jsonl",
        "abfs://ours.blob.core.windows.net/corpora/web/a.jsonl",
    ],
)
def test_the_path_begins_with_the_container(environment, uri):
    environment(NAME_AND_KEY)
    assert path_of(uri) == "corpora/web/a.jsonl"
    system, inside = resolve(uri)
    assert (system.type_name, inside) == ("abfs", "corpora/web/a.jsonl")
