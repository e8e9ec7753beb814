"""Long documents: encoded in pieces, where that surely gives the ids that the whole would give.

An encoder needs memory for a text many times over, the reference over 100 bytes a byte. So a text of more
than _PIECE characters is encoded from left to right, a piece and some of what follows at a time. Why the ids
are the whole's:

- Only tokenizers are cut that split text by patterns before they merge, and whose normaliser, if any, treats
  an ASCII letter or a space as a beginning (NFC and the like do: neither combines with what comes before it).
  Their ids are those of the words of the split, one after the other, and the split goes from left to right:
  from a place where a word begins, it depends on nothing before.
- A cut is right where the encoder itself, given the piece and _AHEAD characters more, gives ids that end with
  exactly the ids of those characters alone: then a word begins at the cut. The piece begins where a word
  begins (the text's start, or the last cut), so all words before the cut are the whole text's words too.
- What lies still further on could change that only through one word of the split that spans all _AHEAD
  characters; these hold at least _LEAST_WORDS words of prose or code, so none does.

A text without such a place is refused: it is not prose or code but one endless word.
"""

import itertools
import re

import numpy as np

from .encoder import Encoder, Ids

_PIECE = 1 << 20
_AHEAD = 1 << 12
_TRIES = 32
# Places are looked for in such a part of a piece before its end: a small one first, for the patterns cost.
_PARTS = (1 / 64, 1 / 4)
DEFAULT_MAX_WHOLE = 1 << 22
# A line that begins with a letter, or a word after a space: in front of the letter, or of the space.
_PLACES = (re.compile(r"(?<=[\w.,;:)}\]]\n)(?=[A-Za-z])"), re.compile(r"(?<=[A-Za-z0-9])(?= [A-Za-z])"))
_WORDS = re.compile(r"[\n ][A-Za-z]+(?=[^A-Za-z])")
_LEAST_WORDS = 16


class LongDocumentError(ValueError):
    """A document is too long for one piece and can't be cut."""


def encode_long(text: str, encoder: Encoder, most_whole: int) -> Ids:
    """Returns the ids of a long text.

    Args:
        text: More than _PIECE characters.
        encoder: What encodes.
        most_whole: Characters of the longest text, or part of one, encoded whole where it can't be cut.

    Raises:
        LongDocumentError: There is no place to cut and too much is left for one piece.
    """
    # Grows in place: arrays kept to be joined would hold all ids twice.
    found = bytearray()
    start = 0
    while len(text) - start > _PIECE + _AHEAD:
        cut = _next_cut(text, start, encoder, most_whole) if encoder.splits_first else None
        if cut is None:
            break
        stop, ids = cut
        found += ids.tobytes()
        start = stop
    left = len(text) - start
    if left > max(most_whole, _PIECE + _AHEAD):
        why = f"it can't be cut after character {start:,}" if encoder.splits_first else "it can't be cut"
        raise LongDocumentError(
            f"the document has {len(text):,} characters, and {why} so that its ids surely stay the same; at "
            f"most {most_whole:,} are encoded whole. Split it, leave it out, or raise --max-whole (the "
            "reference encoder needs over 100 bytes of memory a character)."
        )
    ids, _ = encoder.encode_batch([text[start:]])
    found += ids.tobytes()
    return np.frombuffer(found, np.uint32)


def _next_cut(text: str, start: int, encoder: Encoder, most: int) -> tuple[int, Ids] | None:
    """Returns where the next piece ends, of not much more than _PIECE and at most `most`, and its ids."""
    stops = range(start + _PIECE, start + max(most, _PIECE) + 1, _PIECE)
    for stop, part, pattern in itertools.product(stops, _PARTS, _PLACES):
        places = [match.start() for match in pattern.finditer(text, stop - int(_PIECE * part), stop)]
        for place in places[: -_TRIES - 1 : -1]:
            ahead = text[place : place + _AHEAD]
            if len(_WORDS.findall(ahead)) < _LEAST_WORDS:
                continue
            tail, _ = encoder.encode_batch([ahead])
            # First with a little before the place, which costs little where it is no good.
            for begin in (max(start, place - _AHEAD), start):
                ids, _ = encoder.encode_batch([text[begin : place + _AHEAD]])
                if len(ids) <= len(tail) or not np.array_equal(ids[-len(tail) :], tail):
                    break
            else:
                return place, ids[: -len(tail)]
    return None


def is_long(text: str) -> bool:
    """Tells whether a text is encoded in pieces."""
    return len(text) > _PIECE
