"""The progress bar of a run on stderr: which phase, how far, how fast, what loss."""

import sys
from typing import TYPE_CHECKING, Any

from composer.loggers import LoggerDestination
from composer.utils import dist
from tqdm import tqdm

if TYPE_CHECKING:
    from composer.core import State
    from composer.loggers import Logger

# Without a terminal each refresh is a line of its own: few of them.
SECONDS_BETWEEN_LINES = 10.0


class ProgressLine(LoggerDestination):
    """One bar for the whole run, in the unit of max_duration; evaluation is shown in the same place.

    Composer's own bar calls the losses of both phases by one name, and prints two lines a batch into a file.
    """

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None
        self.phase = "training"

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Takes note of the phase."""
        del step
        if "superposition/phase" in metrics:
            self.phase = "superposition" if metrics["superposition/phase"] == 1 else "recovery"

    def fit_start(self, state: "State", logger: "Logger") -> None:
        """Opens the bar at where the run starts or goes on."""
        del logger
        if dist.get_global_rank() != 0:
            return
        assert state.max_duration is not None
        unit = state.max_duration.unit
        self.bar = tqdm(
            total=int(state.max_duration.value),
            initial=int(state.timestamp.get(unit).value),
            unit=unit.value,
            unit_scale=unit.value == "tok",
            file=sys.stderr,
            desc="training",
            mininterval=0.1 if sys.stderr.isatty() else SECONDS_BETWEEN_LINES,
            maxinterval=SECONDS_BETWEEN_LINES,
        )

    def batch_end(self, state: "State", logger: "Logger") -> None:
        """Moves the bar to the batches done."""
        del logger
        if self.bar is not None:
            done = int(state.timestamp.get(state.max_duration.unit).value)
            total = (state.total_loss_dict or {}).get("loss/train/total", float("nan"))
            self.bar.set_description(self.phase, refresh=False)
            self.bar.set_postfix_str(f"loss {total:.3f}", refresh=False)
            self.bar.update(done - self.bar.n)

    def eval_batch_end(self, state: "State", logger: "Logger") -> None:
        """Shows how far an evaluation is."""
        del logger
        if self.bar is not None:
            batches = f"{int(state.eval_timestamp.batch)}/{int(state.dataloader_len or 0)}"
            self.bar.set_description(f"evaluating {batches}", refresh=False)
            self.bar.update(0)

    def eval_end(self, state: "State", logger: "Logger") -> None:
        """Goes back to the phase."""
        del state, logger
        if self.bar is not None:
            self.bar.set_description(self.phase)

    def close(self, state: "State", logger: "Logger") -> None:
        """Leaves the bar's last state on the screen."""
        del state, logger
        if self.bar is not None:
            self.bar.close()
            self.bar = None
