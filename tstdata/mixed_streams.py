"""Streams of bag shards that are read as one dataset: how they are given, and what they must share."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from .mixing import Mixture
from .stored import StoredDataset, read_stored

logger = logging.getLogger(__name__)

WEIGHTS = ("proportion", "repeat", "choose")
# What a Stream was given; it derives all three weights later.
_GIVEN = {name: f"_{name}" for name in (*WEIGHTS, "download_retry", "download_timeout", "keep_zip")}


# To a type checker, whatever comes after it among the bases: only the dataset module imports streaming.
_Base: Any = object


class MixedStreams(_Base):
    """Mixed into a StreamingDataset: its streams' datasets are read as one."""

    stored: StoredDataset
    mixture: Mixture
    # Each stream's dataset.
    stored_streams: list[StoredDataset]

    def read_streams(self) -> None:
        """Reads what the streams' datasets say of themselves.

        Raises:
            ValueError: One is of no bag shards, or two can't be one dataset.
        """
        shards = [
            [shard for shard, of in zip(self.shards, self.stream_per_shard, strict=True) if of == number]
            for number in range(len(self.streams))
        ]
        rank = self._unique_rank_world.rank
        read = [read_stored(stream, own, rank) for stream, own in zip(self.streams, shards, strict=True)]
        self.stored_streams = read
        self.stored = join_stored(read, [own[0].column_encodings[0] for own in shards])

    @property
    def described_stream(self) -> Any:
        """The stream whose dataset has the card, and so the tokenizer; without a card, the first."""
        carded = [stored.card is not None for stored in self.stored_streams]
        return self.streams[carded.index(True) if True in carded else 0]

    def mix(self, bag_size: int, joined: int, epoch_size: int | None, seed: int) -> None:
        """Works out what an epoch draws of each stream, as Streaming counts it.

        Args:
            bag_size: s.
            joined: Stored rows in a row.
            epoch_size: Rows to draw of all streams together; None: as their weights and sizes say.
            seed: Which streams get a row more where proportions give no whole numbers of rows.

        Raises:
            ValueError: A stream has no row, or `epoch_size` contradicts the weights.
        """
        rows = self.samples_per_shard.copy()
        for number, stored in enumerate(self.stored_streams):
            # What an append left that has no card yet.
            rows[np.flatnonzero(self.stream_per_shard == number)[stored.num_shards :]] = 0
        everything = Mixture(rows, self.stream_per_shard, (0,) * len(self.streams), bag_size, joined)
        for stored, number in zip(self.stored_streams, everything.rows_per_stream, strict=True):
            if not number and len(self.streams) > 1:
                raise ValueError(f"no shard of {stored.where} holds a row of {joined} stored rows.")
        rows_per_stream = everything.rows_per_stream
        if not all(rows_per_stream):  # The plan refuses this.
            self.mixture = everything
            return
        weighed = [_given_weight(stream) for stream in self.streams]
        type(self.streams[0]).apply_weights(weighed, np.array(rows_per_stream), epoch_size, seed)
        self.mixture = replace(everything, drawn=tuple(int(stream.choose) for stream in weighed))

    def hash_of_each_shard(self) -> list[str | None]:
        """Returns which of its hashes is checked, for each shard.

        Raises:
            ValueError: A shard has other hashes only.
        """
        algorithms = [self.streams[stream].validate_hash for stream in self.stream_per_shard]
        for shard, algorithm in zip(self.shards, algorithms, strict=True):
            if algorithm is not None and shard.hashes and algorithm not in shard.hashes:
                raise ValueError(
                    f"validate_hash is {algorithm!r} and {shard.raw_data.basename} of {self.stored.where} "
                    f"has {', '.join(shard.hashes)}. Give one of these, or leave it out for the first."
                )
        return algorithms

    def drawn_streams(self) -> list[list[Any]] | None:
        """Returns each stream's dataset, by hash, and the rows an epoch draws of it; None: one, whole."""
        if len(self.streams) == 1 and self.mixture.is_everything_once:
            return None
        pairs = zip(self.stored_streams, self.mixture.drawn, strict=True)
        return [[stored.sha256, drawn] for stored, drawn in pairs]

    def validate_first_hashes(self) -> None:
        """Has each stream check the first of the hashes that its shards have, if it was not told which."""
        for number, stream in enumerate(self.streams):
            hashes = self.shards[self.shard_offset_per_stream[number]].hashes
            if stream.validate_hash is None and hashes:
                stream.validate_hash = hashes[0]
            elif not hashes:
                logger.warning(
                    "%s: index.json has no shard hashes: damaged downloads can't be told.",
                    self.stored_streams[number].where,
                )


def make_streams(given: Any, plain: type, make: Callable[..., Any]) -> list[Any] | None:
    """Returns the streams that shards are fetched by.

    Args:
        given: None; or a list of `streaming.Stream`s or of their arguments; or, as a YAML has them, these by
            name.
        plain: `streaming.Stream`.
        make: Makes a stream of this package of the same arguments.

    Raises:
        ValueError: One is something else, as a Stream of a class that fetches in its own way.
    """
    if given is None:
        return None
    streams = list(given.values()) if isinstance(given, Mapping) else list(given)
    if not streams:
        raise ValueError("streams is empty; leave it out, or give one at least.")
    made = []
    for number, stream in enumerate(streams):
        if isinstance(stream, Mapping):
            made.append(make(**stream))
        elif type(stream) in (plain, make):
            arguments = {name: getattr(stream, attribute) for name, attribute in _GIVEN.items()}
            arguments |= {
                name: getattr(stream, name) for name in ("remote", "local", "split", "validate_hash")
            }
            made.append(make(**arguments))
        else:
            raise ValueError(
                f"stream {number} is {stream!r}; it is a streaming.Stream itself, or the mapping of its "
                "arguments: remote, local, split, and one of proportion, repeat and choose."
            )
    return made


def _given_weight(stream: Any) -> SimpleNamespace:
    """Returns the weight that a stream was given, if any, as Streaming's `apply_weights` looks for it."""
    given = {name: getattr(stream, f"_{name}") for name in WEIGHTS}
    return SimpleNamespace(**{name: value for name, value in given.items() if value is not None})


def join_stored(stored: Sequence[StoredDataset], encodings: Sequence[str]) -> StoredDataset:
    """Returns several datasets as one; its card is the first one's that has one.

    Args:
        stored: The streams'.
        encodings: How the rows of each are encoded.

    Raises:
        ValueError: Two have rows of other lengths or types, or another tokenizer; both are named.
    """
    first = stored[0]
    for other, encoding in zip(stored, encodings, strict=True):
        if encoding != encodings[0]:
            raise ValueError(
                f"{first.where} has rows of {encodings[0]} and {other.where} of {encoding}: streams have one "
                "length of rows and one type of ids. Prepare them with the same tokenizer and --seq-len."
            )
    carded = [one for one in stored if one.card is not None]
    known = [one for one in carded if one.card is not None and one.card.tokenizer.files]
    for other in known[1:]:
        _check_same_tokenizer(known[0], other)
    return replace(
        first,
        where=" and ".join(one.where for one in stored),
        card=carded[0].card if carded else None,
        sha256=first.sha256
        if len(stored) == 1
        else hashlib.sha256("\n".join(one.sha256 for one in stored).encode()).hexdigest(),
        num_shards=sum(one.num_shards for one in stored),
    )


def _check_same_tokenizer(first: StoredDataset, other: StoredDataset) -> None:
    assert first.card is not None
    assert other.card is not None
    ours, theirs = first.card.tokenizer, other.card.tokenizer
    for name in ("vocab_sha256", "probe_sha256", "eos_id", "bos_id"):
        if getattr(ours, name) != getattr(theirs, name):
            raise ValueError(
                f"{first.where} was prepared with another tokenizer than {other.where}: {name} is "
                f"{getattr(ours, name)} and {getattr(theirs, name)}. Streams have one tokenizer: prepare "
                "them with the same."
            )
