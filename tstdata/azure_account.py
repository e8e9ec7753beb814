"""Azure: the account that `abfs://` leads to, by the URI or by the environment, as pyarrow's file system."""

import os
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pyarrow.fs as pafs

_CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"
# As Streaming names them.
_NAME, _KEY = "AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT_ACCESS_KEY"


class AzureAccount(NamedTuple):
    """An account; without a key, Azure's own chain of credentials; without an endpoint, the public cloud."""

    name: str
    key: str | None = None
    endpoint: str | None = None

    def file_system(self) -> Any:
        """Returns the account's file system.

        Raises:
            ValueError: The installed pyarrow has none for Azure.
        """
        if not hasattr(pafs, "AzureFileSystem"):
            raise ValueError("this pyarrow was built without Azure: pip install --upgrade pyarrow.")
        parts = urlsplit(self.endpoint or "")
        options: dict[str, Any] = {}
        if parts.netloc and not parts.netloc.startswith(f"{self.name}."):  # An emulator's, or a proxy's.
            for service in ("blob", "dfs"):
                options[f"{service}_storage_authority"] = parts.netloc
                options[f"{service}_storage_scheme"] = parts.scheme
        return pafs.AzureFileSystem(self.name, account_key=self.key, **options)


def account_of(place: str) -> AzureAccount:
    """Returns the account of `CONTAINER@ACCOUNT.dfs.core.windows.net`, or for `CONTAINER` the environment's.

    `ACCOUNT.blob.core.windows.net`, with the container behind it, names an account too.

    The environment's is that of AZURE_STORAGE_CONNECTION_STRING, or AZURE_ACCOUNT_NAME with, perhaps,
    AZURE_ACCOUNT_ACCESS_KEY; its key is used for an account that the URI names only if it is the same one.

    Raises:
        ValueError: Neither names an account.
    """
    _, host = _container_and_host(place)
    named = host.partition(".")[0]
    known = _of_environment()
    if known is not None and named in ("", known.name):
        return known
    if not named:
        raise ValueError(
            f"abfs://{place} does not name its account. Write abfs://{place}@ACCOUNT.dfs.core.windows.net, "
            f"or set {_NAME} (and {_KEY}, unless `az login` or an identity lets you in), or {_CONNECTION}."
        )
    return AzureAccount(named)


def path_of(uri: str) -> str:
    """Returns the path of a URI in its account: container, then what is in it."""
    place, _, inside = uri.partition("://")[2].partition("/")
    container, _ = _container_and_host(place)
    return f"{container}/{inside}".strip("/")


def _container_and_host(place: str) -> tuple[str, str]:
    container, _, host = place.partition("@")
    # A container's name has no dots.
    return ("", container) if not host and "." in container else (container, host)


def _of_environment() -> AzureAccount | None:
    if connection := os.environ.get(_CONNECTION):
        pairs = dict(part.split("=", 1) for part in connection.split(";") if "=" in part)
        if "AccountName" not in pairs:
            raise ValueError(
                f"{_CONNECTION} has no AccountName=; copy it anew from the account's access keys."
            )
        return AzureAccount(pairs["AccountName"], pairs.get("AccountKey"), pairs.get("BlobEndpoint"))
    name = os.environ.get(_NAME)
    return AzureAccount(name, os.environ.get(_KEY)) if name else None
