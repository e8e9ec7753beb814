"""Checkpoints of a run directory: which one to go on from after a kill, and the saver that writes them."""

import logging
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from composer import Trainer
    from composer.callbacks import CheckpointSaver

    from .config import RunConfig
    from .run_directory import RunDirectory

log = logging.getLogger(__name__)

_NAME = re.compile(r"ep(\d+)-ba(\d+)-rank0\.pt")


def finished_checkpoints(folder: Path) -> list[Path]:
    """Returns the whole checkpoints of a folder, oldest first, and deletes those that a kill cut short.

    Composer writes a checkpoint in place and then moves the link `latest-rank0.pt`, so after a kill a file
    may be half there and the link be missing: neither is relied on. A checkpoint is a zip archive, whose
    table of contents comes last.
    """
    for path in folder.glob("ep*-ba*-rank0.pt"):
        if _NAME.fullmatch(path.name) and not zipfile.is_zipfile(path):
            log.warning("%s was cut short while it was written; it is deleted", path)
            path.unlink()
    return whole_checkpoints(folder)


def whole_checkpoints(folder: Path) -> list[Path]:
    """Returns the whole checkpoints of a folder, oldest first; another process may be writing one more."""
    found = []
    for path in folder.glob("ep*-ba*-rank0.pt"):
        match = _NAME.fullmatch(path.name)
        if match is not None and zipfile.is_zipfile(path):
            found.append((int(match[2]), int(match[1]), path))
    return [path for _, _, path in sorted(found)]


def batch_of(checkpoint: Path) -> int:
    """Returns the number of batches done at a checkpoint, from its name."""
    match = _NAME.fullmatch(checkpoint.name)
    assert match is not None, f"{checkpoint} is not named by checkpoint_saver"
    return int(match[2])


def checkpoint_saver(config: "RunConfig", run: "RunDirectory", kept: list[Path]) -> "CheckpointSaver":
    """Returns Composer's saver for the run directory; `kept` are the checkpoints already there, oldest first.

    The Trainer's own saver forgets after a resumption what it wrote before, and would keep those for ever.
    """
    from composer.callbacks import CheckpointSaver

    saver = CheckpointSaver(
        folder=str(run.checkpoints),
        filename="ep{epoch}-ba{batch}-rank{rank}.pt",
        latest_filename="latest-rank{rank}.pt",
        remote_file_name=None,
        latest_remote_file_name=None,
        save_interval=config.save_interval,
        num_checkpoints_to_keep=config.save_num_checkpoints_to_keep,
    )
    saver.saved_checkpoints = [str(path) for path in kept]
    return saver


def restore_rng_callback(trainer: "Trainer") -> Any:
    """Returns a callback that restores the checkpoint's random state before the first batch of a resumption.

    Composer keeps that state for when it has spun the data loader forward; a StreamingDataset resumes by
    itself, so within an epoch Composer never restores it, and dropout would differ from a run without kills.
    """
    from composer.core import Callback, State
    from composer.loggers import Logger
    from composer.utils import reproducibility

    class RestoreRandomState(Callback):
        def after_dataloader(self, state: State, logger: Logger) -> None:
            if trainer._rng_state is not None:
                reproducibility.load_rng_state(trainer._rng_state)
                trainer._rng_state = None

    return RestoreRandomState()
