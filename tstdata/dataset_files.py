"""The files of a dataset, by their names in it: in a directory, or below a prefix of an object store."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Union

from .commit import commit_bytes
from .file_systems import is_uri, join, list_tree, open_file, status_of, write_file

_CHUNK = 8 << 20

DatasetPath = Union[str, os.PathLike[str], "DatasetFiles"]


class DatasetFiles:
    """Reads the files of one dataset; a store is asked as seldom as may be."""

    def __init__(self, dataset: str | os.PathLike[str]) -> None:
        self.root = os.fspath(dataset).rstrip("/") or "/"

    @classmethod
    def of(cls, dataset: DatasetPath) -> "DatasetFiles":
        """Returns the files of a path or URI, or of what is that already."""
        return dataset if isinstance(dataset, cls) else cls(dataset)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return self.root

    @property
    def is_remote(self) -> bool:
        """Whether the dataset is in a store."""
        return is_uri(self.root)

    def path(self, name: str) -> str:
        """Returns the path or URI of a file."""
        return join(self.root, name)

    def exists(self, name: str) -> bool:
        """Tells whether there is such a file."""
        try:
            status_of(self.path(name))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def open(self, name: str) -> BinaryIO:
        """Opens a file for reading bytes at any position."""
        return open_file(self.path(name))

    def read(self, name: str) -> bytes:
        """Returns all bytes of a file."""
        with self.open(name) as file:
            return bytes(file.read())

    def write(self, name: str, data: bytes) -> None:
        """Writes a whole file."""
        if self.is_remote:
            write_file(self.path(name), data)
        else:
            commit_bytes(Path(self.path(name)), data)

    def sha256(self, name: str) -> str:
        """Returns the hash of a file."""
        digest = hashlib.sha256()
        with self.open(name) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def sizes(self) -> dict[str, int]:
        """Returns the sizes of all files of a dataset in a store, by name."""
        assert self.is_remote
        return {name: status.size for name, status in list_tree(self.root)}

    def copy_to(self, folder: Path, names: Iterable[str]) -> None:
        """Copies files into a local directory, under their own names."""
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            commit_bytes(target, self.read(name))
