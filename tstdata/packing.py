"""Packing: encoded documents to one token stream, each document closed by exactly one end-of-text."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .encoder import Ids, Lengths


class PackedBatch(NamedTuple):
    """The ids of some documents, and each one's number of ids; end-of-text and begin-of-text included."""

    tokens: npt.NDArray[np.unsignedinteger]
    lengths: Lengths


def pack(ids: Ids, lengths: Lengths, eos_id: int, bos_id: int | None, dtype: str) -> PackedBatch:
    """Puts an end-of-text after every document, and a begin-of-text before it if there is one.

    Example: ids [5, 6, 7] of lengths [2, 0, 1] with end-of-text 0 become [5, 6, 0, 0, 7, 0], lengths [3, 1,
        2].
    """
    before = int(bos_id is not None)
    closed = lengths + 1 + before
    ends = np.cumsum(closed) - 1
    tokens = np.empty(int(closed.sum()), dtype)
    if len(lengths) == 1:  # Perhaps a very long one: a mask and what numpy makes of it would be as large.
        tokens[:before], tokens[before:-1], tokens[-1] = bos_id or 0, ids, eos_id
        return PackedBatch(tokens, closed)
    is_text = np.ones(len(tokens), bool)
    tokens[ends] = eos_id
    is_text[ends] = False
    if bos_id is not None:
        starts = ends + 1 - closed
        tokens[starts] = bos_id
        is_text[starts] = False
    tokens[is_text] = ids
    return PackedBatch(tokens, closed)


def documents_with(token_id: int, ids: Ids, lengths: Lengths) -> npt.NDArray[np.int64]:
    """Returns the indices of the documents whose ids hold `token_id`, in order."""
    is_hit = ids == token_id
    if not is_hit.any():  # As ever; to look for where takes several times as long.
        return np.zeros(0, np.int64)
    return np.unique(np.searchsorted(np.cumsum(lengths), np.flatnonzero(is_hit), side="right"))


def without_documents(dropped: npt.NDArray[np.int64], ids: Ids, lengths: Lengths) -> tuple[Ids, Lengths]:
    """Returns the ids and lengths of all documents but those of these indices."""
    kept = np.ones(len(lengths), bool)
    kept[dropped] = False
    return ids[np.repeat(kept, lengths)], lengths[kept]
