"""Randomness as a hash of ids: it depends on no library's generator, on no drawing order, on no layout."""

import numpy as np
import numpy.typing as npt

_WORD = (1 << 64) - 1

Ints = npt.NDArray[np.int64]


def draw(ids: Ints, *salts: int) -> npt.NDArray[np.uint64]:
    """Returns 64 even bits for each id (>= 0): splitmix64's finaliser over the salts, then over the ids."""
    state = np.zeros(1, np.uint64)
    for salt in salts:
        state = _mix(state + np.uint64(salt & _WORD))
    return _mix(state + ids.astype(np.uint64))


def share(draws: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Returns draws as numbers from 0 up to, without it, 1."""
    return (draws >> np.uint64(11)) * 2.0**-53


def below(bound: Ints | int, draws: npt.NDArray[np.uint64]) -> Ints:
    """Returns draws as whole numbers from 0 up to, without it, `bound`."""
    return (draws % np.asarray(bound, np.uint64)).astype(np.int64)


def _mix(word: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Returns splitmix64's output for each state; `word` itself stays."""
    word = word + np.uint64(0x9E3779B97F4A7C15)
    word ^= word >> np.uint64(30)
    word *= np.uint64(0xBF58476D1CE4E5B9)
    word ^= word >> np.uint64(27)
    word *= np.uint64(0x94D049BB133111EB)
    word ^= word >> np.uint64(31)
    return word
