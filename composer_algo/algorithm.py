"""The Composer Algorithm: superposes tokens until a scheduled batch, then leaves nothing behind."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from composer.core import Algorithm, Event, State, Time
from composer.loggers import Logger
from composer.utils import dist

from . import hugging_face as hugging_face  # registers its adapters
from .adapter import ModelAdapter, adapter_for
from .agreement import BagData, refuse_to_superpose_now, run_length, settle_bag_size, settle_switch
from .batch import COUNTS, TARGETS, check_row_length, superpose_batch
from .epoch_length import EpochLength
from .first_batch import check_ids, warn_of_first_loss
from .objective import Objective
from .phase import Schedule, token_share_warning
from .rows import split_rows
from .settings import Settings
from .superposed_model import SuperposedModel
from .throughput import throughput

__all__ = ["TokenSuperposition"]


class TokenSuperposition(Algorithm):
    """Token-superposition training for causal language models.

    In the superposition phase each latent position is the average of ``bag_size`` token embeddings and
    predicts the next bag (:func:`multi_hot_cross_entropy`); from the switch on, training is ordinary. What
    goes in and what is predicted in each mode is said at :func:`superpose_batch`. Evaluation is ordinary in
    both phases.

    Args:
        bag_size: tokens in one bag; None: the dataset's.
        duration: length of the superposition phase as a Composer time string, in batches (``6000ba``) or as a
            share of the run (``0.3dur``); None: the dataset's ``superposition_batches``. It is made an
            absolute batch when training starts, and kept in the checkpoint.
        weighting: how positions in the target bag count, by name or as numbers (:func:`bag_weights`).
        mode: ``full``, ``input_only`` or ``output_only``; the last needs no bag rows, so there ``bag_size``
            and ``duration`` must be given.
        alternative: ``sum_to_one`` for the paper's MCEAlt (:func:`sum_to_one_cross_entropy`); None: MCE.
        recovery_rows: for an ordinary dataloader, whose rows have L*s tokens in both phases: ``split`` cuts
            them to s rows from the switch on (:func:`split_rows`), ``keep`` trains on them as they are.
        fused_loss: whether the loss is computed in the place of the model's head, never making the logits,
            where the head is known. ``always``: the next-token loss of the recovery phase too.

    Raises:
        ValueError: now for a bad argument, when the Trainer is built for a model that cannot be superposed,
            and when training starts for data or a checkpoint that disagrees.
    """

    def __init__(
        self,
        bag_size: int | None = None,
        duration: str | Time | None = None,
        weighting: str | Sequence[float] = "uniform",
        mode: str = "full",
        alternative: str | None = None,
        recovery_rows: str | None = None,
        fused_loss: bool | str = True,
    ) -> None:
        super().__init__()
        self.settings = Settings.check(
            bag_size=bag_size,
            duration=duration.to_timestring() if isinstance(duration, Time) else duration,
            weighting=weighting,
            mode=mode,
            alternative=alternative,
            recovery_rows=recovery_rows,
            fused_loss=fused_loss,
        )
        self.schedule: Schedule | None = None
        self._saved: dict[str, Any] | None = None
        self._adapter: ModelAdapter | None = None
        self._model: SuperposedModel | None = None
        self._data: BagData | None = None
        self._objective = Objective(self.settings)
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
            self._saved = {name: state[name] for name in (*self.settings.saved(), "switch_batch")}

    def _install(self, state: State, logger: Logger) -> None:
        """INIT: teach the bare model to take bags, before DDP, FSDP or torch.compile wrap it."""
        self.schedule = self._saved = self._hidden_metrics = None
        self._ids_checked = False
        folds, fused = self.settings.folds_inputs, self.settings.fused_loss
        # Where tokens go in, next-token metrics go on, and they are computed from logits.
        metrics = state.model.get_metrics(is_train=True)
        self._adapter = adapter_for(state.model, folds_inputs=folds)
        self._model = SuperposedModel(
            self._adapter,
            self._objective,
            folds_inputs=folds,
            fused=fused == "always" or (bool(fused) and (folds or not metrics)),
        )

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
        growth = bag_size if self._data is not None and self.settings.folds_inputs else 1
        run = run_length(state, self._data, growth, dist.get_world_size())
        self.schedule = settle_switch(self.settings, self._data, self._saved, run, bag_size)
        if self._superposes(state):
            refuse_to_superpose_now(self.settings, self._data, self._saved, state, self.schedule)
        if self._data is not None:
            self._attach(dataset)
        if self._saved is None and self.settings.duration is not None:
            message = token_share_warning(self.settings.duration, run)
            if message is not None:
                warnings.warn(message, stacklevel=2)
        frozen = {"bag_size": bag_size, "switch_batch": self.schedule.switch_batch}
        self._saved = {**self.settings.saved(), **frozen}
        starts = {"phase": self.schedule.phase_at(int(state.timestamp.batch))}
        hyperparameters = {
            f"superposition/{name}": value for name, value in {**self._saved, **starts}.items()
        }
        logger.log_hyperparameters(hyperparameters)

    def _attach(self, dataset: Any) -> None:
        """Tell the dataset that an Algorithm folds its bag rows; it checks vocabulary and tokenizer."""
        assert self.schedule is not None
        assert self._adapter is not None
        assert self._data is not None
        folds = self.settings.folds_inputs
        dataset.attach_superposition(
            bag_size=self.schedule.bag_size if folds else self._data.bag_size,
            superposition_batches=self.schedule.switch_batch if folds else 0,
            vocab_size=self._adapter.vocab_size,
            tokenizer=self._adapter.tokenizer,
        )

    def _prepare_batch(self, state: State, logger: Logger) -> None:
        """AFTER_DATALOADER: in the superposition phase, fold the batch and add its targets."""
        assert self.schedule is not None
        assert self._adapter is not None
        assert self._model is not None
        batch, layout = int(state.timestamp.batch), self._adapter.layout
        bag_size, phase = self.schedule.bag_size_at(batch), self.schedule.phase_at(batch)
        logger.log_metrics({"superposition/bag_size": bag_size, "superposition/phase": phase})
        always = self.settings.fused_loss == "always" and self._model.fuses
        self._hide_train_metrics(state, hide=always or (phase == 1 and self.settings.folds_inputs))
        if self._data is not None and self._data.seq_len is not None:
            check_row_length(state.batch, self._data.seq_len * self._growth(batch), phase, layout)
        self._model.superposes = phase == 1
        if phase == 1:
            state.batch = self._superpose(state.batch, bag_size, self.settings.mode)
            return
        if self._data is None and self.settings.folds_inputs and self.settings.recovery_rows == "split":
            state.batch = split_rows(state.batch, self.schedule.bag_size, layout)
        if always:
            state.batch = self._superpose(state.batch, 1, "output_only")

    def _superpose(self, batch: Any, bag_size: int, mode: str) -> dict[str, Any]:
        assert self._adapter is not None
        superposed = superpose_batch(batch, bag_size, mode, self._adapter.layout)
        ids, targets = superposed[self._adapter.layout.ids], superposed[TARGETS]
        if not self._ids_checked:  # once, for it is a pass over the batch
            check_ids(ids, self._adapter.vocab_size)
            self._ids_checked = True
        # By which LLM Foundry accumulates microbatches, when it does so on tokens: now by targets.
        counts = [ids[0].numel()] * len(ids), self._objective.row_shares(targets)
        return {**superposed, **dict(zip(COUNTS, counts, strict=True))}

    def _drop_labels(self, state: State, logger: Logger) -> None:
        """BEFORE_FORWARD: without labels the model computes no loss of its own on a superposed batch."""
        if self._superposes(state) or (isinstance(state.batch, dict) and TARGETS in state.batch):
            assert self._adapter is not None
            labels = self._adapter.layout.labels
            state.batch = {key: value for key, value in state.batch.items() if key != labels}

    def _log(self, state: State, logger: Logger) -> None:
        """BATCH_END: log the loss and the rates of the batch just trained; the timestamp is past it."""
        assert self.schedule is not None
        step = int(state.timestamp.batch) - 1
        logger.log_metrics(throughput(state, self._growth(step)), step=step)
        mce = (state.total_loss_dict or {}).get("loss/train/mce")
        if self.schedule.phase_at(step) == 2 or mce is None:
            return
        logger.log_metrics({"superposition/mce": mce}, step=step)
        assert self._adapter is not None
        fresh = step == 0 and not self._adapter.is_pretrained and state.load_path is None
        if fresh and self.settings.alternative is None:  # the mass on a whole bag has no such value
            warn_of_first_loss(mce, self._adapter.vocab_size, self._adapter.z_loss)

    _handlers: ClassVar[dict[Event, Any]] = {
        Event.INIT: _install,
        Event.BEFORE_LOAD: _note_epoch_length,
        Event.FIT_START: _settle,
        Event.EPOCH_START: _refresh_epoch_length,
        Event.AFTER_DATALOADER: _prepare_batch,
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

    def _growth(self, batch: int) -> int:
        """How many tokens of text one latent position stands for."""
        assert self.schedule is not None
        return self.schedule.bag_size_at(batch) if self.settings.folds_inputs else 1
