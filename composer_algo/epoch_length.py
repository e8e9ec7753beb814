"""Composer reads the length of an epoch once, but the epoch that holds the bag rows has fewer batches."""

from collections.abc import Sized
from typing import Any

__all__ = ["EpochLength"]


class EpochLength:
    """Keeps ``state.dataloader_len`` at the length of the epoch being read.

    Composer stops an epoch after the number of batches that the first one had: left alone, every later epoch
    would lose its last rows. A user's own limit (``train_subset_num_batches``) stays.
    """

    def __init__(self) -> None:
        self._loader: Any = None
        self._limited = False

    def note(self, state: Any) -> None:
        """Note, while the loader is still at the epoch Composer measured, whether the user limits epochs."""
        self._loader = state.train_dataloader
        self._limited = isinstance(self._loader, Sized) and state.dataloader_len != len(self._loader)

    def refresh(self, state: Any) -> None:
        """Tell Composer how long the epoch is that begins, or goes on, now."""
        if self._loader is not state.train_dataloader:
            self.note(state)
        if isinstance(self._loader, Sized) and not self._limited:
            state.dataloader_len = len(self._loader)
