"""The spot check: through a whole job, about one document in a thousand is encoded by the reference as well.

Which ones follows from their places alone. Of a long document a window is compared, encoded by both: the
reference is slow, and its memory grows with the text.
"""

import numpy as np
import numpy.typing as npt
import xxhash

from .encoder import Encoder, Ids, Lengths
from .reading import Run

_ONE_IN = 1000
_WINDOW_CHARACTERS = 2048


def check_batch(encoder: Encoder, batch: Run, ids: Ids, lengths: Lengths, key: tuple[int, int]) -> int | None:
    """Returns the index of a document whose ids are not the reference's, or None.

    Args:
        encoder: What made the ids.
        batch: The documents.
        ids: Their ids, one after the other.
        lengths: The number of ids of each.
        key: What tells the part of the corpus that their places count in from all others.
    """
    if encoder.reference is None:
        return None
    seed = xxhash.xxh64_intdigest(repr(key).encode())
    for index in np.flatnonzero(
        _mix(np.asarray(batch.places, np.uint64) + np.uint64(seed)) % _ONE_IN == 0
    ).tolist():
        text = batch.texts[index]
        if len(text) <= _WINDOW_CHARACTERS:
            stop = int(lengths[: index + 1].sum())
            found = ids[stop - int(lengths[index]) : stop]
        else:
            start = xxhash.xxh64_intdigest(repr((key, batch.places[index])).encode()) % (
                len(text) - _WINDOW_CHARACTERS
            )
            text = text[start : start + _WINDOW_CHARACTERS]
            found, _ = encoder.encode_batch([text])
        if not np.array_equal(found, encoder.reference.encode_batch([text])[0]):
            return index
    return None


def _mix(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scatters numbers over all 64 bits: the finaliser of splitmix64."""
    with np.errstate(over="ignore"):
        numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
