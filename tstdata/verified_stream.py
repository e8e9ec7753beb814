"""A Stream that leaves no shard behind whose download was damaged, and says what to do when it gives up."""

import logging
import os
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

# How often a shard is fetched that arrives damaged. Failing downloads Streaming retries by itself.
_FETCHES = 3

# To a type checker, whatever comes after it among the bases: only the dataset module imports streaming.
_Base: Any = object


class VerifiedFetching(_Base):
    """Mixed into a Stream: its own downloaders; a damaged shard is deleted and fetched again."""

    @property
    def root(self) -> str:
        """The directory that the shards are cached in."""
        return os.path.join(self.local, self.split).rstrip("/")

    @property
    def source(self) -> str | None:
        """Where the shards come from; None when what is local is all there is."""
        if self.remote in (None, self.local):
            return None
        return os.path.join(self.remote, self.split).rstrip("/")

    def prepare_shard(self, shard: Any) -> int:
        """Fetches and unpacks a shard; returns by how many bytes the cache grew.

        Raises:
            OSError: It could not be had; names shard, remote and remedy.
        """
        held = _bytes_held(self.root, shard)
        for fetch in range(1, _FETCHES + 1):
            try:
                super().prepare_shard(shard)
                _check_size(self.root, shard)
                return _bytes_held(self.root, shard) - held
            except Exception as error:
                failure = error
            if self.source is None:
                break
            shard.evict()
            if not isinstance(failure, ValueError) or fetch == _FETCHES:
                break
            logger.warning("%s: deleted, and fetched again from %s.", failure, self.source)
        raise OSError(self._message(shard, failure)) from failure

    def _message(self, shard: Any, failure: Exception) -> str:
        name = (shard.zip_data or shard.raw_data).basename
        if self.source is None:
            return (
                f"{name} of {self.root} is missing or damaged, and there is no `remote` to fetch it from "
                f"({failure}). See what else is wrong with: tst verify {self.root}"
            )
        return (
            f"{name} of {self.source} could not be fetched into {self.root} "
            f"({type(failure).__name__}: {failure}). See that it is there and whole, that the credentials "
            "let it be read and that the cache's disk has room. Then start the run again: it goes on "
            "from its last checkpoint."
        )


def _bytes_held(root: str, shard: Any) -> int:
    files = [info for info in (shard.raw_data, shard.zip_data) if info is not None]
    return sum(info.bytes for info in files if os.path.isfile(os.path.join(root, info.basename)))


def _check_size(root: str, shard: Any) -> None:
    path, expected = Path(root, shard.raw_data.basename), shard.raw_data.bytes
    if path.stat().st_size != expected:
        raise ValueError(f"{path} has {path.stat().st_size} bytes and index.json says {expected}")
