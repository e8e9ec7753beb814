"""Arguments that StreamingBagDataset refuses before it touches a file."""

import logging
import warnings
from collections.abc import Mapping
from typing import Any

from .spans import SHUFFLE_ALGOS

logger = logging.getLogger(__name__)

# Instead of Streaming's two tries within 2 seconds: a store that answers 5xx for some 20 does no harm.
DEFAULTS = {"download_retry": 5}
# Streaming's arguments that would break a law of the sample order, and why.
_REFUSED = {
    "stream_name": "shards are fetched by a stream of this package, which never keeps a damaged one",
    "batching_method": "the superposition plan is itself the batching method",
    "partition_algo": "Streaming's partitions repeat rows, and here no row is repeated",
    "replication": "ranks that share rows are not supported",
    "sampling_method": "what an epoch draws of a stream is drawn anew in each",
    "sampling_granularity": "rows are drawn evenly of all shards of a stream, in whole bags",
}


def check_arguments(
    bag_size: Any,
    superposition_batches: Any,
    batch_size: Any,
    seq_len: Any,
    shuffle_algo: Any,
    shuffle_block_size: Any,
    streaming_kwargs: Mapping[str, Any],
) -> None:
    """Checks StreamingBagDataset's arguments; those that need the dataset's size are the plan's to check.

    Raises:
        ValueError: One is out of its range, or would break the order of rows.
    """
    for name, value, least in (
        ("bag_size", bag_size, 1),
        ("superposition_batches", superposition_batches, 0),
        ("batch_size", batch_size, 1),
        ("seq_len", seq_len, 1),
        ("shuffle_block_size", shuffle_block_size, 1),
    ):
        if value is None and name in ("seq_len", "shuffle_block_size"):
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} is {value!r}; it is a whole number, {least} or more.")
    if shuffle_algo not in SHUFFLE_ALGOS:
        raise ValueError(f"shuffle_algo is {shuffle_algo!r}; it is one of {', '.join(SHUFFLE_ALGOS)}.")
    for name, reason in _REFUSED.items():
        if streaming_kwargs.get(name) is not None:
            raise ValueError(f"{name} is {streaming_kwargs[name]!r}; leave it out: {reason}.")
    if superposition_batches and bag_size == 1:
        warnings.warn(
            f"superposition_batches {superposition_batches} has no effect with bag_size 1: a bag of one "
            "token is that token. Set superposition_batches: 0, or a larger bag_size.",
            stacklevel=3,
        )


def check_on_bad_shard(on_bad_shard: Any) -> None:
    """Refuses all but "error".

    Raises:
        ValueError: It is something else.
    """
    if on_bad_shard != "error":
        raise ValueError(
            f'on_bad_shard is {on_bad_shard!r}; it is "error": a damaged shard is fetched again by '
            "itself, and to go on without one that can't be had would change which rows are in every later "
            "batch. To do without it, prepare a dataset that lacks it."
        )


def check_cache_limit(limit: int | None, index_bytes: int, shard_bytes: int, processes: int) -> None:
    """Refuses a limit that the index and one shard do not fit in; warns of one that is fetched into in vain.

    Args:
        limit: Bytes that the cache may hold; None: any number.
        index_bytes: What of them index.json takes.
        shard_bytes: What the largest shard takes while it is unpacked.
        processes: How many ranks of this machine read.

    Raises:
        ValueError: It is too low.
    """
    if limit is None:
        return
    least, good = index_bytes + shard_bytes, index_bytes + max(4, 2 * processes) * shard_bytes
    if limit < least:
        raise ValueError(
            f"cache_limit is {limit:,} bytes; the index and the largest shard need {least:,}. From {good:,} "
            "on shards are not fetched again and again."
        )
    if limit < good:
        logger.warning(
            "cache_limit %s bytes holds %d of the largest shards: they will be fetched again and again. Give "
            "it %s or more.",
            *(f"{limit:,}", (limit - index_bytes) // shard_bytes, f"{good:,}"),
        )
