"""The Composer Algorithm: superposes tokens until a scheduled batch, then leaves nothing behind."""

import math
import warnings
from dataclasses import asdict
from typing import Any, ClassVar

import torch
from composer.core import Algorithm, Event, State, Time
from composer.loggers import Logger
from composer.utils import dist

from .adapter import HuggingFaceAdapter, adapter_for
from .agreement import BagData, Settings, run_length, settle_bag_size, settle_switch
from .batch import MODES, check_row_length, superpose_batch
from .epoch_length import EpochLength
from .fold import check_bag_size
from .loss import multi_hot_cross_entropy
from .phase import Schedule, parse_time, token_share_warning
from .weights import bag_weights

__all__ = ["TokenSuperposition"]

# What a checkpoint keeps, all scalars: newer Composer loads with weights_only.
SAVED = ("bag_size", "switch_batch", "duration", "weighting", "mode")

# A random model's first loss is log(V) to a few per cent; one that is further off is probably wired wrongly.
FIRST_LOSS_TOLERANCE = 0.1


class TokenSuperposition(Algorithm):
    """Token-superposition training for Hugging Face causal language models.

    In the superposition phase each latent position is the average of ``bag_size`` token embeddings and
    predicts the next bag (:func:`multi_hot_cross_entropy`); from the switch on, training is ordinary. What
    goes in and what is predicted in each mode is said at :func:`superpose_batch`. Evaluation is ordinary in
    both phases.

    Args:
        bag_size: tokens in one bag; None: the dataset's.
        duration: length of the superposition phase as a Composer time string, in batches (``6000ba``) or as a
            share of the run (``0.3dur``); None: the dataset's ``superposition_batches``. It is made an
            absolute batch when training starts, and kept in the checkpoint.
        weighting: how positions in the target bag count (:func:`bag_weights`).
        mode: ``full``, ``input_only`` or ``output_only``; the last needs no bag rows, so there ``bag_size``
            and ``duration`` must be given.

    Raises:
        ValueError: now for a bad argument, when the Trainer is built for a model that cannot be superposed,
            and when training starts for data or a checkpoint that disagrees.
    """

    def __init__(
        self,
        bag_size: int | None = None,
        duration: str | Time | None = None,
        weighting: str = "uniform",
        mode: str = "full",
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(
                f"mode is {mode!r}; the modes are {', '.join(MODES)}. Type mode='full' for the paper's "
                "method."
            )
        if mode == "output_only" and (bag_size is None or duration is None):
            raise ValueError(
                f"mode 'output_only' with bag_size {bag_size!r} and duration {duration!r}: its data are "
                "ordinary rows, so both must be given here. Type for example bag_size=4, duration='0.5dur'."
            )
        if bag_size is not None:
            check_bag_size(bag_size)
        bag_weights(weighting, bag_size or 1)
        if mode == "input_only" and weighting != "uniform":
            warnings.warn(
                f"weighting {weighting!r} has no effect: input_only predicts one token.", stacklevel=2
            )
        duration = duration.to_timestring() if isinstance(duration, Time) else duration
        if duration is not None:
            parse_time(duration, "duration")
        self.settings = Settings(bag_size, duration, weighting, mode)
        self.schedule: Schedule | None = None
        self._saved: dict[str, Any] | None = None
        self._adapter: HuggingFaceAdapter | None = None
        self._data: BagData | None = None
        self._weights: dict[tuple[int, torch.device], torch.Tensor] = {}
        self._epoch_length = EpochLength()
        self._hidden_metrics: dict[str, Any] | None = None
        self._ids_checked = False

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in asdict(self.settings).items())
        return f"{type(self).__name__}({arguments})"

    def match(self, event: Event, state: State) -> bool:
        """Run at the events that have a handler; which phase it is, is decided there."""
        return event in self._handlers

    def apply(self, event: Event, state: State, logger: Logger) -> None:
        """Hand the event to its method."""
        self._handlers[event](self, state, logger)

    def state_dict(self) -> dict[str, Any]:
        """Return scalars only, so that a checkpoint loads with ``weights_only``."""
        return {**super().state_dict(), **(self._saved or {})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keep what the checkpoint says; it is held against this run's settings when training starts."""
        if "switch_batch" in state:
            self._saved = {name: state[name] for name in SAVED}

    def _install(self, state: State, logger: Logger) -> None:
        """INIT: teach the bare model to take bags, before DDP, FSDP or torch.compile wrap it."""
        self.schedule = self._saved = self._hidden_metrics = None
        self._ids_checked = False
        self._adapter = adapter_for(state.model, folds_inputs=self.settings.mode != "output_only")
        self._adapter.install(self._multi_hot_loss)

    def _note_epoch_length(self, state: State, logger: Logger) -> None:
        """BEFORE_LOAD: a checkpoint may be in another epoch than the one whose length Composer has read."""
        self._epoch_length.note(state)

    def _refresh_epoch_length(self, state: State, logger: Logger) -> None:
        """EPOCH_START, and FIT_START within an epoch: epochs of bag data differ in length."""
        if self._data is not None:
            self._epoch_length.refresh(state)

    def _settle(self, state: State, logger: Logger) -> None:
        """FIT_START: freeze the switch to an absolute batch, and make sure that data and model fit it."""
        dataset = getattr(state.train_dataloader, "dataset", None)
        self._data = BagData.of(dataset)
        self._refresh_epoch_length(state, logger)
        bag_size = settle_bag_size(self.settings, self._data, self._saved)
        growth = bag_size if self.settings.mode != "output_only" else 1
        run = run_length(state, self._data, growth, dist.get_world_size())
        self.schedule = settle_switch(self.settings, self._data, self._saved, run, bag_size)
        if self._superposes(state):
            self._refuse_to_superpose_now(state, dataset)
        if self._data is not None:
            self._attach(dataset)
        if self._saved is None and self.settings.duration is not None:
            message = token_share_warning(self.settings.duration, run)
            if message is not None:
                warnings.warn(message, stacklevel=2)
        frozen = {"bag_size": bag_size, "switch_batch": self.schedule.switch_batch}
        self._saved = {**asdict(self.settings), **frozen}
        logger.log_hyperparameters({f"superposition/{name}": value for name, value in self._saved.items()})

    def _refuse_to_superpose_now(self, state: State, dataset: Any) -> None:
        assert self.schedule is not None
        bag_size, switch = self.schedule.bag_size, self.schedule.switch_batch
        if self._saved is None and state.timestamp.batch > 0:
            raise ValueError(
                f"the checkpoint is at batch {int(state.timestamp.batch)} and was trained without "
                f"TokenSuperposition, which would superpose until batch {switch}. Type duration='0ba', or "
                "start a new run from its weights (load_weights_only=True)."
            )
        if self._data is None and self.settings.mode != "output_only":
            raise ValueError(
                f"mode {self.settings.mode!r} needs rows of L*{bag_size} tokens until batch {switch} and "
                f"rows of L after it; the training data, a {type(dataset).__name__}, serves no bag rows. "
                "Train from bag shards (train_loader: name: bag_shards), or type mode='output_only'."
            )

    def _attach(self, dataset: Any) -> None:
        """Tell the dataset that an Algorithm folds its bag rows; it checks vocabulary and tokenizer."""
        assert self.schedule is not None
        assert self._adapter is not None
        assert self._data is not None
        ordinary = self.settings.mode == "output_only"
        dataset.attach_superposition(
            bag_size=self._data.bag_size if ordinary else self.schedule.bag_size,
            superposition_batches=0 if ordinary else self.schedule.switch_batch,
            vocab_size=self._adapter.vocab_size,
            tokenizer=self._adapter.tokenizer,
        )

    def _superpose(self, state: State, logger: Logger) -> None:
        """AFTER_DATALOADER: in the superposition phase, fold the batch and add its targets."""
        assert self.schedule is not None
        batch = int(state.timestamp.batch)
        bag_size, phase = self.schedule.bag_size_at(batch), self.schedule.phase_at(batch)
        logger.log_metrics({"superposition/bag_size": bag_size, "superposition/phase": phase})
        self._hide_train_metrics(state, hide=phase == 1 and self.settings.mode != "output_only")
        if self._data is not None and self._data.seq_len is not None:
            growth = bag_size if self.settings.mode != "output_only" else 1
            check_row_length(state.batch, self._data.seq_len * growth, phase)
        if phase == 1:
            assert self._adapter is not None
            state.batch = superpose_batch(state.batch, bag_size, self.settings.mode, self._adapter.row_keys)
            if not self._ids_checked:  # once: on a device, looking at the ids waits for it
                self._adapter.check_ids(state.batch["input_ids"])
                self._ids_checked = True

    def _drop_labels(self, state: State, logger: Logger) -> None:
        """BEFORE_FORWARD: without labels the model computes no loss of its own on a superposed batch."""
        if self._superposes(state):
            state.batch = {key: value for key, value in state.batch.items() if key != "labels"}

    def _log(self, state: State, logger: Logger) -> None:
        """BATCH_END: log the multi-hot loss of the batch just trained; the timestamp is past it."""
        assert self.schedule is not None
        step = int(state.timestamp.batch) - 1
        mce = (state.total_loss_dict or {}).get("loss/train/mce")
        if self.schedule.phase_at(step) == 2 or mce is None:
            return
        logger.log_metrics({"superposition/mce": mce}, step=step)
        assert self._adapter is not None
        expected = math.log(self._adapter.vocab_size)
        fresh = step == 0 and not self._adapter.is_pretrained and state.load_path is None
        if fresh and abs(mce - expected) > FIRST_LOSS_TOLERANCE * expected:
            warnings.warn(
                f"the first superposition/mce is {mce:.3f}; random weights over {self._adapter.vocab_size} "
                f"tokens give about log(V) = {expected:.3f}. Check the model's initialisation, and that "
                "labels are unshifted.",
                stacklevel=2,
            )

    _handlers: ClassVar[dict[Event, Any]] = {
        Event.INIT: _install,
        Event.BEFORE_LOAD: _note_epoch_length,
        Event.FIT_START: _settle,
        Event.EPOCH_START: _refresh_epoch_length,
        Event.AFTER_DATALOADER: _superpose,
        Event.BEFORE_FORWARD: _drop_labels,
        Event.BATCH_END: _log,
    }

    def _hide_train_metrics(self, state: State, *, hide: bool) -> None:
        """Take the train metrics away while bags go in: they would not measure what they are named for."""
        if hide and self._hidden_metrics is None:
            self._hidden_metrics, state.train_metrics = state.train_metrics or {}, {}
        elif not hide and self._hidden_metrics is not None:
            state.train_metrics, self._hidden_metrics = self._hidden_metrics, None

    def _superposes(self, state: State) -> bool:
        return self.schedule is not None and self.schedule.phase_at(int(state.timestamp.batch)) == 1

    def _multi_hot_loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        # The weights stay here and out of the batch, every tensor of which is split into microbatches.
        key = (targets.shape[-1], logits.device)
        if key not in self._weights:
            self._weights[key] = bag_weights(self.settings.weighting, targets.shape[-1]).to(logits.device)
        return multi_hot_cross_entropy(logits, targets, self._weights[key])
