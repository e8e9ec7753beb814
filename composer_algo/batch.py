"""One batch of the superposition phase: bags (or tokens) in, and the targets of every latent position.

Letters: B rows, T tokens in a row, L latent positions, S tokens in a bag.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .fold import (
    fold_bags,
    fold_mask,
    fold_position_ids,
    fold_sequence_id,
    next_bag_targets,
    next_window_targets,
)

__all__ = ["COUNTS", "MODES", "TARGETS", "BatchLayout", "check_batch", "check_row_length", "superpose_batch"]

# What each mode feeds and predicts; see superpose_batch.
MODES = ("full", "input_only", "output_only")

# The batch key whose presence says: this batch's loss is the multi-hot one.
TARGETS = "superposition_targets"

# What LLM Foundry's batches may carry, one number a row, in lists: tokens, and tokens that are predicted.
COUNTS = ("total_tokens", "loss_generating_tokens")

# Inputs with one value for each token that have a rule, and the rule.
FOLDED = {
    "attention_mask": fold_mask,
    "position_ids": fold_position_ids,
    "sequence_id": fold_sequence_id,
}


@dataclass(frozen=True)
class BatchLayout:
    """Where a model finds what in a batch, which is a mapping.

    ``labels_are_shifted``: labels at t are the token after t, not a copy of the ids as Hugging Face has them.
    ``inputs``: all other keys that the model reads; superposition folds those it has a rule for and refuses
    the others where they have one value for each token.
    """

    ids: str = "input_ids"
    labels: str = "labels"
    labels_are_shifted: bool = False
    inputs: frozenset[str] = frozenset({"attention_mask", "sequence_id", "position_ids", "token_type_ids"})


def superpose_batch(
    batch: Any, bag_size: int, mode: str, layout: BatchLayout | None = None
) -> dict[str, Any]:
    """Return a batch of the superposition phase; the batch that came in is left as it was.

    - ``full``: ids ``[B, L*S]`` become bags ``[B, L, S]``; bag j predicts all tokens of bag j + 1.
    - ``input_only``: the same bags; bag j predicts one next token, the first of bag j + 1: targets ``[B, L,
      1]``.
    - ``output_only``: ids stay ``[B, T]``; token t predicts tokens t + 1 .. t + S, near the end of the row
      those that exist.

    An attention mask is folded as :func:`fold_mask` says, a ``sequence_id`` as :func:`fold_sequence_id`,
    ``position_ids`` as :func:`fold_position_ids`.
    Every tensor added has one entry for each row, so that Composer can split the batch into microbatches.

    Raises:
        ValueError: the batch lacks a key, has shapes that do not fit, or holds an input that cannot be
            folded.
    """
    layout = layout or BatchLayout()
    check_batch(batch, layout)
    ids, labels = batch[layout.ids], unshifted_labels(batch, layout)
    if mode == "output_only":
        return {**batch, TARGETS: next_window_targets(labels, bag_size)}
    folded = {layout.ids: fold_bags(ids, bag_size)}
    for key in layout.inputs - {layout.ids, layout.labels}:
        value = batch.get(key)
        if not isinstance(value, torch.Tensor):
            continue
        # Unfolded, a mask of L*S columns would silently be read by its first L.
        if key in FOLDED:
            folded[key] = FOLDED[key](value, bag_size)
        elif value.ndim > 1 and ids.shape[1] in value.shape[1:]:
            raise ValueError(
                f"the batch carries {key} of shape {list(value.shape)}, one value for each of the "
                f"{ids.shape[1]} tokens; superposition has no rule to fold it to bags. Leave it out of the "
                "dataloader's batches."
            )
    targets = next_bag_targets(labels, bag_size)
    return {**batch, **folded, TARGETS: targets if mode == "full" else targets[..., :1].contiguous()}


def unshifted_labels(batch: Mapping[str, Any], layout: BatchLayout) -> torch.Tensor:
    """Return the labels ``[B, T]`` as a copy of the ids: what each place holds, not what follows it."""
    ids, labels = batch[layout.ids], batch[layout.labels]
    if labels.shape != ids.shape:
        raise ValueError(
            f"labels have shape {list(labels.shape)} and input_ids {list(ids.shape)}; labels are an "
            "unshifted copy of the ids, -100 where ignored. Give the dataloader labels = input_ids.clone()."
        )
    return torch.cat([ids[:, :1], labels[:, :-1]], dim=1) if layout.labels_are_shifted else labels


def check_row_length(batch: Any, expected: int | None, phase: int, layout: BatchLayout | None = None) -> None:
    """Raise ValueError when rows are not ``expected`` tokens long: data and Algorithm are out of step."""
    ids = batch.get((layout or BatchLayout()).ids) if isinstance(batch, Mapping) else None
    if expected is not None and isinstance(ids, torch.Tensor) and ids.ndim == 2 and ids.shape[1] != expected:
        raise ValueError(
            f"the dataloader yielded rows of {ids.shape[1]} tokens in phase {phase}, where rows have "
            f"{expected}: data and TokenSuperposition disagree on where superposition ends. Give the same "
            "number to the dataset's superposition_batches and to duration, or leave duration out."
        )


def check_batch(batch: Any, layout: BatchLayout) -> None:
    """Raise ValueError when a batch is no mapping with ids and labels."""
    if not isinstance(batch, Mapping):
        raise ValueError(
            f"the dataloader yielded a {type(batch).__name__}; superposition reads a mapping with "
            f"{layout.ids!r} and {layout.labels!r}. Use tstdata.build_bag_dataloader, or a collate function "
            "that returns such a dict."
        )
    missing = [key for key in (layout.ids, layout.labels) if not isinstance(batch.get(key), torch.Tensor)]
    if missing:
        raise ValueError(
            f"the batch has keys {sorted(batch)}; superposition also needs the tensor "
            f"{' and '.join(missing)}, unshifted labels being a copy of the ids. Use "
            "tstdata.build_bag_dataloader."
        )
