"""Selection: which documents of a corpus a dataset holds. It depends on each document's text alone."""

from dataclasses import dataclass
from typing import Any

import xxhash

from .reading import Run

TRAIN, VAL = "train", "val"


@dataclass(frozen=True)
class Selection:
    """What is asked of a document.

    `min_chars` characters or more; and with `holdout`, a share of 0 to 1, that it falls to `part`: "val" for
    the texts whose xxh64 is below that share of all hashes, else "train". Equal texts fall to one part.
    """

    min_chars: int = 0
    holdout: float | None = None
    part: str | None = None

    def check(self) -> None:
        """Refuses what can't be meant.

        Raises:
            ValueError: A value is out of its range.
        """
        if self.min_chars < 0:
            raise ValueError(f"min_chars is {self.min_chars}; give --min-chars 0 or more.")
        if self.holdout is not None and not 0 < self.holdout < 1:
            raise ValueError(
                f"holdout is {self.holdout}; it is a share of documents: give --holdout 0.001, say."
            )

    def select(self, run: Run) -> tuple[Run, int]:
        """Returns the documents of a run that are taken, and how many of this part are too short."""
        if self.holdout is not None:
            run = run.where(map(self._is_of_part, run.texts))
        if not self.min_chars:
            return run, 0
        taken = run.where(len(text) >= self.min_chars for text in run.texts)
        return taken, len(run.texts) - len(taken.texts)

    def _is_of_part(self, text: Any) -> bool:
        """Tells whether a text, or an adopted document's array of ids, falls to this dataset's part."""
        assert self.holdout is not None
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text.tobytes()
        is_val = xxhash.xxh64_intdigest(data) < self.holdout * 2.0**64
        return (VAL if is_val else TRAIN) == self.part
