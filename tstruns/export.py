"""`tst export`: a checkpoint of a run as an ordinary Hugging Face directory, which needs nothing of ours."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoints import batch_of, whole_checkpoints
from .run_directory import RunDirectory

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Export", "export"]


@dataclass(frozen=True)
class Export:
    """What was written: where, the batch it is of, and what a user should know of it."""

    folder: Path
    batch: int
    warnings: tuple[str, ...]


def export(run: str | os.PathLike[str], to: str | os.PathLike[str], step: int | None = None) -> Export:
    """Writes weights (safetensors), config and tokenizer of a run's checkpoint into a directory of its own.

    Args:
        run: The run directory, finished or not.
        to: Made anew; it must not hold anything yet.
        step: Batches done at the checkpoint; None takes the newest.

    Raises:
        FileNotFoundError: There is no run, or no such checkpoint.
        ValueError: `to` is not empty, or the checkpoint holds no Hugging Face model.
    """
    directory, folder = RunDirectory(run), Path(to)
    if not directory.config_file.is_file():
        raise FileNotFoundError(f"{directory.path} has no config.yaml: it is no run directory of `tst train`")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already; give another --to, or delete it")
    checkpoint = _checkpoint(directory, step)
    # Composer unpacks a tokenizer into a directory, and without one into the user's own.
    with tempfile.TemporaryDirectory() as scratch:
        model, tokenizer, switch = _load(checkpoint, scratch)
        _save(model, tokenizer, folder)
    batch, warnings = batch_of(checkpoint), []
    if switch is not None and batch < switch:
        warnings.append(
            f"batch {batch} is in the superposition phase, which ends at batch {switch}: this model has been "
            "trained on bags alone and predicts a next token poorly"
        )
    if tokenizer is None:
        warnings.append(
            "the run had no tokenizer, so none is written; copy the one of its data beside the weights"
        )
    return Export(folder, batch, tuple(warnings))


def _save(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase | None", folder: Path) -> None:
    aside = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    try:
        model.save_pretrained(aside, safe_serialization=True)
        if tokenizer is not None:
            tokenizer.save_pretrained(aside)
        aside.replace(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _checkpoint(directory: RunDirectory, step: int | None) -> Path:
    found = whole_checkpoints(directory.checkpoints)
    if not found:
        raise FileNotFoundError(f"{directory.checkpoints} holds no checkpoint; train the run first")
    if step is None:
        return found[-1]
    chosen = [path for path in found if batch_of(path) == step]
    if not chosen:
        there = ", ".join(str(batch_of(path)) for path in found)
        raise FileNotFoundError(
            f"{directory.checkpoints} has no checkpoint of batch {step}; there are those of {there}"
        )
    return chosen[-1]


def _load(
    checkpoint: Path, scratch: str
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase | None, int | None]":
    """Returns the model, its tokenizer (its files in `scratch`), and the batch of the switch or None."""
    import torch
    from composer.models import HuggingFaceModel
    from composer.models.huggingface import get_hf_config_from_composer_state_dict
    from transformers import AutoModelForCausalLM

    # Composer's checkpoints hold objects of its own, and this one is of the user's own run.
    loaded = torch.load(checkpoint, map_location="cpu", weights_only=False)
    state = loaded["state"]
    saved: dict[str, Any] = state["integrations"]["huggingface"]
    weights = {name.removeprefix("model."): weight for name, weight in state["model"].items()}
    model = AutoModelForCausalLM.from_config(get_hf_config_from_composer_state_dict(loaded))
    model.to(next(iter(weights.values())).dtype)
    model.load_state_dict(weights)
    tokenizer = None
    if saved["tokenizer"]:
        tokenizer = HuggingFaceModel.load_huggingface_tokenizer_from_saved_state(
            saved, tokenizer_save_dir=scratch
        )
    return model, tokenizer, _switch(state)


def _switch(state: dict[str, Any]) -> int | None:
    for name, algorithm in state.get("algorithms", ()):
        if name == "TokenSuperposition":
            return algorithm.get("switch_batch")
    return None
