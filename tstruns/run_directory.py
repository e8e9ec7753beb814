"""A run's directory: what lies where, and whether a config may go on in it.

run_dir/
  config.yaml      the config as run: overrides merged, interpolations resolved, defaults filled in
  log.txt          rank 0's log, appended to by every resumption
  metrics.jsonl    one JSON object for each finished batch
  checkpoints/     ep{epoch}-ba{batch}-rank0.pt, and latest-rank0.pt, a link to the newest
  summary.json     written last: its presence means that the run is finished
  .lock            held by the process that trains
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .config import CHANGEABLE, RunConfig
from .run_lock import RunLock


class RunDirectory:
    """Reads and guards one run directory; nothing is written until `claim`.

    Args:
        path: The directory; it need not exist yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.lock = RunLock(self.path / ".lock")

    @property
    def config_file(self) -> Path:
        """The config as run."""
        return self.path / "config.yaml"

    @property
    def log_file(self) -> Path:
        """Rank 0's log."""
        return self.path / "log.txt"

    @property
    def metrics_file(self) -> Path:
        """One JSON object a batch."""
        return self.path / "metrics.jsonl"

    @property
    def summary_file(self) -> Path:
        """The totals of a finished run."""
        return self.path / "summary.json"

    @property
    def checkpoints(self) -> Path:
        """Where Composer's checkpoints lie."""
        return self.path / "checkpoints"

    def config(self) -> dict[str, Any]:
        """Returns the config as run."""
        import yaml

        return dict(yaml.safe_load(self.config_file.read_text()))

    def summary(self) -> dict[str, Any] | None:
        """Returns the totals of a finished run, None while it is not."""
        return json.loads(self.summary_file.read_text()) if self.summary_file.is_file() else None

    def metrics(self) -> Iterator[dict[str, Any]]:
        """Yields the lines of metrics.jsonl; a last one that a kill cut short is left out."""
        if self.metrics_file.is_file():
            for line in self.metrics_file.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    yield json.loads(line)

    def claim(self, config: RunConfig) -> bool:
        """Makes the directory this config's and locks it; returns True, and does neither, if it is finished.

        Raises:
            ValueError: The directory was made with another config (each difference is named), is no run's, or
                another process trains in it.
        """
        if self.config_file.is_file():
            changed = changes(self.config(), config.as_run())
            if changed and self._has_trained():
                lines = "\n  ".join(changed)
                raise ValueError(
                    f"{self.path} was made with another config:\n  {lines}\nGive this run another run_dir, "
                    "or take the old values to go on with that one."
                )
            summary = self.summary()
            if summary is not None and summary["max_duration"] == config.max_duration:
                return True
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise ValueError(
                f"{self.path} holds files but no config.yaml: it is no run's; give another run_dir"
            )
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.lock.acquire()
        self.summary_file.unlink(missing_ok=True)
        self._write(self.config_file, _yaml(config.as_run()))
        return False

    def _has_trained(self) -> bool:
        """A run that was refused before its first batch leaves a config that binds nobody."""
        return next(self.metrics(), None) is not None or any(self.checkpoints.glob("ep*"))

    def drop_metrics_from(self, batch: int) -> None:
        """Drops the metrics lines of this batch and later ones: the run does them again."""
        kept = [json.dumps(line) + "\n" for line in self.metrics() if line["batch"] < batch]
        if self.metrics_file.is_file():
            self._write(self.metrics_file, "".join(kept))

    def finish(self, summary: dict[str, Any]) -> None:
        """Writes summary.json, which marks the run as finished."""
        self._write(self.summary_file, json.dumps(summary, indent=2) + "\n")

    @staticmethod
    def _write(file: Path, text: str) -> None:
        aside = file.with_name(file.name + ".tmp")
        aside.write_text(text)
        aside.replace(file)


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Returns one sentence for each key whose change would make the resumed run another run."""
    before, after = flat(old), flat(new)
    sentences = []
    for key in sorted({*before, *after}):
        was, now = before.get(key), after.get(key)
        if was == now:
            continue
        if key == "max_duration":
            if not _grows(str(was), str(now)):
                sentences.append(
                    f"max_duration: {was!r} there, {now!r} now; it may only grow, in the same unit"
                )
        elif not any(key == allowed or key.startswith(allowed + ".") for allowed in CHANGEABLE):
            sentences.append(f"{key}: {was!r} there, {now!r} now")
    return sentences


def _grows(old: str, new: str) -> bool:
    old_unit, new_unit = old.lstrip("0123456789"), new.lstrip("0123456789")
    return old_unit == new_unit and int(new.removesuffix(new_unit)) > int(old.removesuffix(old_unit))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns {dotted key: value}; an absent section and a null one are the same, an empty one is there."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found.update(flat(value, f"{prefix}{key}."))
        elif value is not None:
            found[f"{prefix}{key}"] = value
    return found


def _yaml(values: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(values, sort_keys=False)
