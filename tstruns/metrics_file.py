"""metrics.jsonl: one JSON object for each finished batch, the same after kills as without, times apart."""

import json
import math
from typing import TYPE_CHECKING, Any

from composer.loggers import LoggerDestination
from composer.utils import dist

if TYPE_CHECKING:
    from pathlib import Path

    from composer.core import State
    from composer.loggers import Logger

# Composer's name for the loss of either phase; here each phase has its own.
TOTAL_LOSS = "loss/train/total"
SUPERPOSITION_LOSS = "loss/train/superposition"
NEXT_TOKEN_LOSS = "loss/train/next_token"
# Left out: counters that every line has under its own names, settings, and what is there under another name.
_DROPPED = ("time/", "trainer/", "loss/train/mce")


class MetricsFile(LoggerDestination):
    """Collects what a batch logs, evaluation after it included, and writes it as one line.

    A line is written when the next batch starts, and the open line is part of every checkpoint: so the file
    of a run resumed at batch n goes on exactly where the file of an uninterrupted one would.

    Args:
        path: The file.
        seq_len: L, to count equivalent tokens: each row costs L latent positions in either phase.
        resuming: Whether the checkpoint that will be loaded is this run's own.
    """

    def __init__(self, path: "Path", seq_len: int, resuming: bool) -> None:
        self.path = path
        self.seq_len = seq_len
        self.resuming = resuming
        self.open_line: dict[str, Any] | None = None
        self.next_line: dict[str, Any] = {}
        self.loading_next = True

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Keeps values for the line of the batch they are of."""
        del step  # a batch's values are logged partly before and partly after Composer counts it
        line = self.next_line if self.loading_next or self.open_line is None else self.open_line
        line.update({key: _number(value) for key, value in metrics.items()})

    def before_dataloader(self, state: "State", logger: "Logger") -> None:
        """From here on values are of the next batch."""
        del state, logger
        self.loading_next = True

    def epoch_end(self, state: "State", logger: "Logger") -> None:
        """There was no next batch in this epoch: what evaluation logs now is of the last one."""
        del state, logger
        self.loading_next = False

    def batch_start(self, state: "State", logger: "Logger") -> None:
        """Closes the previous batch's line; the learning rate of this batch is the one set now."""
        del logger
        self.close_line()
        self.next_line["lr"] = state.optimizers[0].param_groups[0]["lr"]

    def batch_end(self, state: "State", logger: "Logger") -> None:
        """Opens the line of the batch just done; what is logged until the next is loaded is added to it."""
        del logger
        time = state.timestamp
        counts = {
            "batch": time.batch.value,
            "tokens": time.token.value,
            "equivalent_tokens": time.sample.value * self.seq_len,
            "samples": time.sample.value,
            "wall_seconds": round(time.total_wct.total_seconds(), 3) if time.total_wct else 0.0,
        }
        self.open_line, self.next_line = {**counts, **self.next_line}, {}
        self.loading_next = False

    def close_line(self) -> None:
        """Writes the open line, if there is one."""
        line, self.open_line = self.open_line, None
        if line is None or dist.get_global_rank() != 0:
            return
        loss = SUPERPOSITION_LOSS if line.get("superposition/phase") == 1 else NEXT_TOKEN_LOSS
        named = {loss if key == TOTAL_LOSS else key: value for key, value in line.items()}
        kept = {key: value for key, value in named.items() if not key.startswith(_DROPPED)}
        with self.path.open("a") as file:
            file.write(json.dumps(kept) + "\n")

    def state_dict(self) -> dict[str, Any]:
        """Returns the open line; JSON, so that a checkpoint stays loadable with weights_only."""
        return {"open_line": json.dumps(self.open_line)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the open line up again, unless the checkpoint is another run's."""
        if self.resuming:
            self.open_line = json.loads(state["open_line"])


def _number(value: Any) -> Any:
    """Returns a JSON value: a plain number, or null for one that is not finite."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
