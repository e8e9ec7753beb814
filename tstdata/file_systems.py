"""File systems: where a path or URI leads, local or an object store, behind pyarrow's one interface.

S3, Google Cloud Storage and Azure are pyarrow's own; `hf://` and whatever else fsspec knows go through it.
Credentials come only from where each store's SDK looks: environment, profile, instance role.
"""

import functools
import os
import re
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import urlsplit

import pyarrow.fs as pafs

from .azure_account import AzureAccount, account_of, path_of

_AZURE = ("abfs", "abfss")
_NATIVE = ("s3", "gs", "gcs", *_AZURE)
_WRITE_BYTES = 8 << 20
# As Streaming names it, and as the AWS SDKs do.
_S3_ENDPOINTS = ("S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


class FileStatus(NamedTuple):
    """Size in bytes; time of change in nanoseconds, or a number that changes with the file.

    The hub tells a file's hash and no time; 0 is what is left where nothing is told.
    """

    size: int
    modified: int


def is_uri(path: str) -> bool:
    """Tells a URI such as `s3://bucket/key` from a local path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path) is not None


def local_path(path: str) -> str:
    """Returns the path that stands after `file://`, as fsspec reads it; anything else as it is."""
    return path.removeprefix("file://") if path.startswith("file:///") else path


def join(folder: str, name: str) -> str:
    """Returns the path or URI of a name in a folder."""
    return f"{folder.rstrip('/')}/{name}" if is_uri(folder) else os.path.join(folder, name)


def resolve(uri: str) -> tuple[Any, str]:
    """Returns the `pyarrow.fs.FileSystem` of a URI or local path, and the path in it.

    Raises:
        ValueError: Nothing here knows the kind of URI.
    """
    if not is_uri(uri):
        return pafs.LocalFileSystem(), os.path.abspath(uri)
    scheme, _, rest = uri.partition("://")
    place = rest.partition("/")[0] if scheme in _NATIVE else ""
    settings = _endpoint() if scheme == "s3" else account_of(place) if scheme in _AZURE else None
    system, prefix = _file_system(scheme, place, os.getpid(), settings)
    return system, prefix(uri)


@functools.lru_cache
def _file_system(
    scheme: str, place: str, _process: int, settings: str | AzureAccount | None
) -> tuple[Any, Any]:
    """Makes the file system once for each bucket and process: they hold connections, and survive no fork.

    `settings` is S3's endpoint, if there is one, or Azure's account.
    """
    if isinstance(settings, AzureAccount):
        return settings.file_system(), path_of
    if settings is not None:
        parts = urlsplit(settings if "://" in settings else f"https://{settings}")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        system = pafs.S3FileSystem(
            endpoint_override=parts.netloc + parts.path.rstrip("/"), scheme=parts.scheme, region=region
        )
        return system, lambda uri: uri.partition("://")[2].rstrip("/")
    if scheme in _NATIVE:
        system, _ = pafs.FileSystem.from_uri(f"{scheme}://{place}")
        return system, lambda uri: pafs.FileSystem.from_uri(uri)[1]
    import fsspec

    try:
        behind = fsspec.filesystem(scheme)
    except (ValueError, ImportError) as error:
        raise ValueError(
            f"{scheme}:// can't be read: {error}. Known without more packages: local paths, "
            f"{', '.join(f'{name}://' for name in _NATIVE)}, hf://."
        ) from None
    return pafs.PyFileSystem(pafs.FSSpecHandler(behind)), lambda uri: behind._strip_protocol(uri)


def _endpoint() -> str | None:
    return next(filter(None, map(os.environ.get, _S3_ENDPOINTS)), None)


def status_of(path: str) -> FileStatus:
    """Returns what a file is now.

    Raises:
        FileNotFoundError: There is none.
    """
    if not is_uri(path):
        found = os.stat(path)
        return FileStatus(found.st_size, found.st_mtime_ns)
    system, inside = resolve(path)
    info = system.get_file_info(inside)
    if info.type != pafs.FileType.File:
        raise FileNotFoundError(f"{path} does not exist.")
    return _status(system, info)


def exists(path: str) -> bool:
    """Tells whether there is such a file."""
    try:
        status_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def open_file(path: str) -> BinaryIO:
    """Opens a file for reading bytes at any position.

    Raises:
        FileNotFoundError: There is none.
        OSError: The store refuses, or can't be reached.
    """
    if not is_uri(path):
        return open(path, "rb")
    system, inside = resolve(path)
    return cast(BinaryIO, system.open_input_file(inside))


def write_file(path: str, data: bytes | BinaryIO) -> None:
    """Writes a whole file into a store, where it appears at once or not at all."""
    system, inside = resolve(path)
    with system.open_output_stream(inside) as file:
        if isinstance(data, bytes):
            file.write(data)
            return
        while chunk := data.read(_WRITE_BYTES):
            file.write(chunk)


def list_tree(folder: str) -> list[tuple[str, FileStatus]]:
    """Returns all files below a remote folder, by their paths below it, sorted; none without a folder."""
    system, inside = resolve(folder)
    infos = system.get_file_info(pafs.FileSelector(inside, allow_not_found=True, recursive=True))
    files = [info for info in infos if info.type == pafs.FileType.File]
    head = len(inside.rstrip("/")) + 1
    return sorted((info.path[head:], _status(system, info)) for info in files)


def _status(system: Any, info: Any) -> FileStatus:
    modified = info.mtime_ns
    if modified is None and isinstance(system, pafs.PyFileSystem):
        modified = int(system.handler.fs.info(info.path).get("blob_id", "0")[:15], 16)
    return FileStatus(info.size or 0, modified or 0)
