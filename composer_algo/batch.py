"""One batch of the superposition phase: bags (or tokens) in, and the targets of every latent position.

Letters: B rows, T tokens in a row, L latent positions, S tokens in a bag.
"""

from collections.abc import Collection, Mapping
from typing import Any

import torch

from .fold import fold_bags, fold_mask, next_bag_targets, next_window_targets

__all__ = ["MODES", "TARGETS", "check_row_length", "superpose_batch"]

# What each mode feeds and predicts; see superpose_batch.
MODES = ("full", "input_only", "output_only")

# The batch key whose presence says: this batch's loss is the multi-hot one.
TARGETS = "superposition_targets"


def superpose_batch(
    batch: Any, bag_size: int, mode: str, row_keys: Collection[str] = ("position_ids", "token_type_ids")
) -> dict[str, Any]:
    """Return a batch of the superposition phase; the batch that came in is left as it was.

    - ``full``: ids ``[B, L*S]`` become bags ``[B, L, S]``; bag j predicts all tokens of bag j + 1.
    - ``input_only``: the same bags; bag j predicts one next token, the first of bag j + 1: targets ``[B, L,
      1]``.
    - ``output_only``: ids stay ``[B, T]``; token t predicts tokens t + 1 .. t + S, near the end of the row
      those that exist.

    An attention mask is folded as :func:`fold_mask` says. Every tensor added has one entry for each row, so
    that Composer can split the batch into microbatches.

    Args:
        batch: a mapping with ``input_ids`` and unshifted ``labels``, both ``[B, T]``.
        bag_size: S.
        mode: one of ``MODES``.
        row_keys: the other inputs of the model, which cannot be folded.

    Raises:
        ValueError: the batch lacks a key, has shapes that do not fit, or holds an input that cannot be
            folded.
    """
    _check_keys(batch)
    ids, labels = batch["input_ids"], batch["labels"]
    if labels.shape != ids.shape:
        raise ValueError(
            f"labels have shape {list(labels.shape)} and input_ids {list(ids.shape)}; labels are an "
            "unshifted copy of the ids, -100 where ignored. Give the dataloader labels = input_ids.clone()."
        )
    if mode == "output_only":
        return {**batch, TARGETS: next_window_targets(labels, bag_size)}
    for key in row_keys:
        if (
            isinstance(batch.get(key), torch.Tensor)
            and batch[key].ndim > 1
            and ids.shape[1] in batch[key].shape[1:]
        ):
            raise ValueError(
                f"the batch carries {key} of shape {list(batch[key].shape)}, one value for each of the "
                f"{ids.shape[1]} tokens; superposition has no rule to fold it to bags. Leave it out of the "
                "dataloader's batches."
            )
    targets = next_bag_targets(labels, bag_size)
    folded = {
        "input_ids": fold_bags(ids, bag_size),
        TARGETS: targets if mode == "full" else targets[..., :1].contiguous(),
    }
    mask = batch.get("attention_mask")
    # Unfolded, a mask of L*S columns would silently be read by its first L.
    return (
        {**batch, **folded}
        if mask is None
        else {**batch, **folded, "attention_mask": fold_mask(mask, bag_size)}
    )


def check_row_length(batch: Any, expected: int | None, phase: int) -> None:
    """Raise ValueError when rows are not ``expected`` tokens long: data and Algorithm are out of step."""
    ids = batch.get("input_ids") if isinstance(batch, Mapping) else None
    if expected is not None and isinstance(ids, torch.Tensor) and ids.ndim == 2 and ids.shape[1] != expected:
        raise ValueError(
            f"the dataloader yielded rows of {ids.shape[1]} tokens in phase {phase}, where rows have "
            f"{expected}: data and TokenSuperposition disagree on where superposition ends. Give the same "
            "number to the dataset's superposition_batches and to duration, or leave duration out."
        )


def _check_keys(batch: Any) -> None:
    if not isinstance(batch, Mapping):
        raise ValueError(
            f"the dataloader yielded a {type(batch).__name__}; superposition reads a mapping with "
            "'input_ids' and 'labels'. Use tstdata.build_bag_dataloader, or a collate function that "
            "returns such a dict."
        )
    missing = [key for key in ("input_ids", "labels") if not isinstance(batch.get(key), torch.Tensor)]
    if missing:
        raise ValueError(
            f"the batch has keys {sorted(batch)}; superposition also needs the tensor "
            f"{' and '.join(missing)}, unshifted labels being a copy of the ids. Use "
            "tstdata.build_bag_dataloader."
        )
