"""A Stream that leaves no shard behind whose download was damaged, and says what to do when it gives up."""

import contextlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .cache_claim import CacheClaim, clear_dead_numbers
from .downloading import FetchError, fetch, is_no_room, to_become, unfinished
from .shards import INDEX_FILE
from .sharing import told_to_all

logger = logging.getLogger(__name__)

# How often a shard is fetched that arrives damaged. Failing downloads have their own number, download_retry.
_FETCHES = 3

# To a type checker, whatever comes after it among the bases: only the dataset module imports streaming.
_Base: Any = object


class VerifiedFetching(_Base):
    """Mixed into a Stream: its own downloaders; a damaged shard is deleted and fetched again."""

    # Gathers an object of every rank.
    gather: Callable[[Any], list[Any]]
    _claim: CacheClaim | None = None

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

    def get_shards(self, world: Any, allow_unsafe_types: bool) -> list[Any]:
        """Reads index.json, after fetching it if there is none, and clears what killed runs left unfinished.

        Raises:
            OSError: It could not be had; on every rank, with what to do.
        """
        told_to_all(self._open_cache if world.is_local_leader else None, self.gather)
        shards: list[Any] = super().get_shards(world, allow_unsafe_types)
        if world.is_local_leader and self.source is not None:
            names = [info.basename for shard in shards for info in _files(shard)]
            _clear_unfinished(self.root, set(names))
        return shards

    def close(self) -> None:
        """Gives up the cache, for another job to take."""
        if self._claim is not None:
            self._claim.release()

    def _open_cache(self) -> None:
        if self.source is not None:
            self._claim = CacheClaim(self.root)
            clear_dead_numbers(self.root)
        self._fetch_index()

    def _fetch_index(self) -> None:
        path = os.path.join(self.root, INDEX_FILE)
        if self.source is None:
            if not os.path.exists(path):
                raise FileNotFoundError(
                    f"{self.root} has no {INDEX_FILE}, and there is no `remote` to fetch it from: see that "
                    "`local` and `split` are right, or give `remote`."
                )
            return
        if os.path.exists(path) and not _is_json(path):
            logger.warning("%s is damaged: deleted, and fetched again from %s.", path, self.source)
            os.remove(path)
        if not os.path.exists(path):
            try:
                os.replace(self._download_file(INDEX_FILE, f"{INDEX_FILE}.tmp"), path)
            except FetchError as failure:
                raise OSError(self.refusal(INDEX_FILE, failure)) from failure

    def _download_file(self, from_basename: str, to_basename: str | None = None) -> str:
        """Downloads a file of the dataset in a bounded time and returns its path.

        Raises:
            FetchError: It could not be had.
        """
        remote = None if self.remote is None else os.path.join(self.remote, self.split, from_basename)
        local = os.path.join(self.local, self.split, to_basename or from_basename)
        if to_basename is not None:  # What a killed run left under this name is no whole file.
            with contextlib.suppress(FileNotFoundError):
                os.remove(local)
        fetch(
            lambda: self._downloader.download(remote, local, self.download_timeout),
            self._downloader.clean_up,
            local,
            tries=self.download_retry,
            timeout=self.download_timeout,
        )
        return local

    def prepare_shard(self, shard: Any, check: Callable[[], object]) -> int:
        """Fetches and unpacks a shard; returns by how many bytes the cache grew.

        Args:
            shard: Streaming's reader of it.
            check: Raises a ValueError if the file is not what index.json says.

        Raises:
            OSError: It could not be had; names shard, remote and remedy.
        """
        held = _bytes_held(self.root, shard)
        for number in range(1, _FETCHES + 1):
            try:
                super().prepare_shard(shard)
                check()
                return _bytes_held(self.root, shard) - held
            except Exception as error:
                failure = error
            if self.source is None:
                break
            shard.evict()
            for info in _files(shard):
                for path in unfinished(os.path.join(self.root, info.basename)):
                    with contextlib.suppress(FileNotFoundError):
                        os.remove(path)
            if isinstance(failure, FetchError) or is_no_room(failure) or number == _FETCHES:
                break
            logger.warning("%s: deleted, and fetched again from %s.", failure, self.source)
        raise OSError(self.refusal(_files(shard)[-1].basename, failure)) from failure

    def _prepare_shard_part(self, raw_info: Any, zip_info: Any = None, compression: Any = None) -> int:
        """Has a file that is not there; `prepare_shard` checks raw ones: Streaming would read them again."""
        if zip_info is not None:
            grown: int = super()._prepare_shard_part(raw_info, zip_info, compression)
            return grown
        if os.path.isfile(os.path.join(self.root, raw_info.basename)):
            return 0
        self._download_file(raw_info.basename)
        return int(raw_info.bytes)

    def refusal(self, name: str, failure: Exception) -> str:
        """Returns what is said of a file that could not be had: which, where from, why, and what to do."""
        if self.source is None:
            return (
                f"{name} of {self.root} is missing or damaged, and there is no `remote` to fetch it from "
                f"({failure}). See what else is wrong with: tst verify {self.root}"
            )
        fetched = failure if isinstance(failure, FetchError) else FetchError(failure)
        return (
            f"{name} of {self.source} could not be fetched into {self.root} ({fetched}). {fetched.remedy} "
            "Then start the run again: it goes on from its last checkpoint."
        )


def _files(shard: Any) -> list[Any]:
    """What a shard's file is called and how large it is: raw, and then compressed, if it comes so."""
    return [info for info in (shard.raw_data, shard.zip_data) if info is not None]


def _bytes_held(root: str, shard: Any) -> int:
    return sum(info.bytes for info in _files(shard) if os.path.isfile(os.path.join(root, info.basename)))


def _is_json(path: str) -> bool:
    try:
        json.loads(Path(path).read_bytes())
    except ValueError:
        return False
    return True


def _clear_unfinished(root: str, names: set[str]) -> None:
    """Removes what downloads that were killed left of these files under other names."""
    for entry in os.scandir(root):
        if to_become(entry.name) in names:
            with contextlib.suppress(FileNotFoundError):
                os.remove(entry.path)
