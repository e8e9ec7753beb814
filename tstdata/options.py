"""Options: all that can be asked of a preparation, checked at once before any work."""

from dataclasses import dataclass

from .adoption import check_adoption
from .fast_encoder import ENCODERS
from .long_documents import DEFAULT_MAX_WHOLE
from .selection import Selection
from .shards import DEFAULT_SIZE_LIMIT

ON_ERROR = ("fail", "skip")
ENGINES = ("local", "ray")


@dataclass(frozen=True)
class PrepareOptions:
    """See `tstdata.prepare` for what each is; `part` is which half of a holdout this dataset is."""

    seq_len: int
    text_key: str = "text"
    source_format: str | None = None
    split: str | None = None
    eos_token: str | None = None
    bos: bool = False
    min_chars: int = 0
    limit: int | None = None
    holdout: float | None = None
    part: str | None = None
    adopt: str | None = None
    adopt_dtype: str | None = None
    on_error: str = "fail"
    compression: str | None = None
    size_limit: int = DEFAULT_SIZE_LIMIT
    max_whole: int = DEFAULT_MAX_WHOLE
    encoder: str = "auto"
    engine: str = "local"
    workers: int = 1
    progress: bool = False

    @property
    def selection(self) -> Selection:
        """Which documents are wanted."""
        return Selection(self.min_chars, self.holdout, self.part)

    def check(self) -> None:
        """Refuses values out of their range; those of shards are the layout's to check.

        Raises:
            ValueError: Naming the option.
        """
        self.selection.check()
        if self.adopt is not None:
            check_adoption(self.adopt, self.adopt_dtype)
            without = {"bos": self.bos, "min_chars": self.min_chars, "split": self.split}
            without |= {"source_format": self.source_format, "text_key": self.text_key}
            for name, value in without.items():
                if value and (name, value) != ("text_key", "text"):
                    raise ValueError(f"{name} is {value!r}, but adopted data are ids already: leave it out.")
        if self.max_whole < 1:
            raise ValueError(f"max_whole is {self.max_whole}; give --max-whole {DEFAULT_MAX_WHOLE}, say.")
        if self.workers < 1:
            raise ValueError(f"workers is {self.workers}; give --workers 1 or more.")
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder is {self.encoder!r}; it can be one of {', '.join(ENCODERS)}.")
        if self.engine not in ENGINES:
            raise ValueError(f"engine is {self.engine!r}; it can be one of {', '.join(ENGINES)}.")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}; give --limit 1000, say, or leave it out.")
        if self.on_error not in ON_ERROR:
            raise ValueError(f"on_error is {self.on_error!r}; it can be one of {', '.join(ON_ERROR)}.")
        if self.split == "":
            raise ValueError("split is empty; give --split blank-lines, or the marker between documents.")
