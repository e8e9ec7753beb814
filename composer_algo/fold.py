"""Folding rows of tokens into bags, and the targets that belong to each latent position.

Letters: B rows, T tokens in a row, L latent positions, S tokens in a bag, D width.
"""

import torch

__all__ = [
    "fold_bags",
    "fold_mask",
    "fold_position_ids",
    "fold_sequence_id",
    "next_bag_targets",
    "next_window_targets",
    "superpose",
]

# Signed, so that they can hold ignore_index.
INTEGER_DTYPES = (torch.int64, torch.int32, torch.int16)


def fold_bags(ids_BT: torch.Tensor, bag_size: int) -> torch.Tensor:
    """Fold each row into contiguous bags, in order: ``[B, T] -> [B, T / bag_size, bag_size]``.

    >>> fold_bags(torch.tensor([[1, 2, 3, 4]]), 2).tolist()
    [[[1, 2], [3, 4]]]

    Raises:
        ValueError: ``ids_BT`` is not a 2-D integer tensor, or T is not a multiple of ``bag_size``.
    """
    return _fold(_check_integers(ids_BT, "ids_BT"), check_bag_size(bag_size), "ids_BT")


def fold_mask(mask_BT: torch.Tensor, bag_size: int) -> torch.Tensor:
    """Fold an attention mask (1 attended, 0 padding) to one value a bag: ``[B, T] -> [B, T / bag_size]``.

    The rule: a bag is attended when its tokens are, and a bag must not mix attended tokens with padding,
    because the average of its embeddings would contain the padding's.

    Raises:
        ValueError: a bag mixes 0 and 1, or T is not a multiple of ``bag_size``.
    """
    if mask_BT.ndim != 2:
        raise ValueError(
            f"the attention mask has shape {list(mask_BT.shape)}; superposition folds a 2-D mask "
            "[B, T] only. Leave out the attention mask: rows of bag shards have no padding."
        )
    mask_BLS = _fold(mask_BT, check_bag_size(bag_size), "the attention mask")
    attended_BL = mask_BLS[..., 0]
    mixed_BL = (mask_BLS != attended_BL[..., None]).any(dim=-1)
    if mixed_BL.any():
        row, bag = mixed_BL.nonzero()[0].tolist()
        raise ValueError(
            f"the attention mask of row {row} is {mask_BLS[row, bag].tolist()} in bag {bag}: a bag of "
            f"{bag_size} tokens must be all text or all padding. Pad rows to a multiple of {bag_size} "
            "tokens, or pack them without padding as `tst prepare` does."
        )
    return attended_BL.contiguous()


def fold_position_ids(position_ids_BT: torch.Tensor, bag_size: int) -> torch.Tensor:
    """Fold the places of tokens in their documents to those of bags: ``[B, T] -> [B, T / bag_size]``.

    The rule: a bag's place is that of its last token, in whole bags. So the bags of a document count 0, 1,
    2, ... from the first that belongs to it by :func:`fold_sequence_id`'s rule.

    >>> fold_position_ids(torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2]]), 2).tolist()
    [[0, 1, 0, 1]]

    Raises:
        ValueError: ``position_ids_BT`` is not a 2-D integer tensor, or T is not a multiple of ``bag_size``.
    """
    position_ids_BLS = _fold(
        _check_integers(position_ids_BT, "position_ids"), check_bag_size(bag_size), "position_ids"
    )
    return position_ids_BLS[..., -1].div(bag_size, rounding_mode="floor")


def fold_sequence_id(sequence_id_BT: torch.Tensor, bag_size: int) -> torch.Tensor:
    """Fold the numbers of a row's packed documents to one a bag: ``[B, T] -> [B, T / bag_size]``.

    The rule: a bag belongs to the document of its last token, because what it predicts comes after that one.
    A bag over a document's end still averages both documents' tokens, and attends with the later one's.

    >>> fold_sequence_id(torch.tensor([[0, 0, 0, 1, 1, 1]]), 2).tolist()
    [[0, 1, 1]]

    Raises:
        ValueError: ``sequence_id_BT`` is not a 2-D integer tensor, or T is not a multiple of ``bag_size``.
    """
    sequence_id_BLS = _fold(
        _check_integers(sequence_id_BT, "sequence_id"), check_bag_size(bag_size), "sequence_id"
    )
    return sequence_id_BLS[..., -1].contiguous()


def next_bag_targets(labels_BT: torch.Tensor, bag_size: int, ignore_index: int = -100) -> torch.Tensor:
    """Targets of full superposition: latent position j predicts all tokens of bag j + 1.

    Labels are unshifted, as Hugging Face gives them: the input ids, ``ignore_index`` where ignored.
    The last bag of a row has no next bag, so its targets are all ``ignore_index``.

    >>> next_bag_targets(torch.tensor([[1, 2, 3, 4]]), 2).tolist()
    [[[3, 4], [-100, -100]]]

    Raises:
        ValueError: ``labels_BT`` is not a 2-D integer tensor, or T is not a multiple of ``bag_size``.
    """
    labels_BLS = _fold(_check_integers(labels_BT, "labels_BT"), check_bag_size(bag_size), "labels_BT")
    last_B1S = torch.full_like(labels_BLS[:, :1], ignore_index)
    return torch.cat([labels_BLS[:, 1:], last_B1S], dim=1)


def next_window_targets(labels_BT: torch.Tensor, bag_size: int, ignore_index: int = -100) -> torch.Tensor:
    """Targets of output-only superposition: token t predicts tokens t + 1 .. t + bag_size.

    ``[B, T] -> [B, T, bag_size]``, labels unshifted. Near the end of a row only the tokens that exist are
    targets; the rest are ``ignore_index``.

    >>> next_window_targets(torch.tensor([[1, 2, 3]]), 2).tolist()
    [[[2, 3], [3, -100], [-100, -100]]]

    Raises:
        ValueError: ``labels_BT`` is not a 2-D integer tensor.
    """
    check_bag_size(bag_size)
    _check_integers(labels_BT, "labels_BT")
    tail = labels_BT.new_full((labels_BT.shape[0], bag_size), ignore_index)
    return torch.cat([labels_BT[:, 1:], tail], dim=1).unfold(1, bag_size, 1).contiguous()


def superpose(embeddings_BLSD: torch.Tensor) -> torch.Tensor:
    """Average the S token embeddings of each bag: ``[..., S, D] -> [..., D]``.

    Summed in float32 (float64 stays float64) and cast back to the dtype that came in.
    """
    if embeddings_BLSD.ndim < 2 or not embeddings_BLSD.is_floating_point():
        raise ValueError(
            f"superpose got {embeddings_BLSD.dtype} of shape {list(embeddings_BLSD.shape)}; it averages "
            "floating-point embeddings [..., S, D] over S. Look the ids up in the embedding table first."
        )
    wide = torch.float64 if embeddings_BLSD.dtype == torch.float64 else torch.float32
    return embeddings_BLSD.mean(dim=-2, dtype=wide).to(embeddings_BLSD.dtype)


def check_bag_size(bag_size: int) -> int:
    """Return ``bag_size`` when it is a whole number of at least 1, else raise ValueError."""
    if isinstance(bag_size, bool) or not isinstance(bag_size, int) or bag_size < 1:
        raise ValueError(
            f"bag_size is {bag_size!r}; it is the number of tokens in one bag, a whole number of at least 1 "
            "(1 is ordinary training). Try bag_size=6."
        )
    return bag_size


def _check_integers(ids_BT: torch.Tensor, name: str) -> torch.Tensor:
    if ids_BT.ndim != 2 or ids_BT.dtype not in INTEGER_DTYPES:
        raise ValueError(
            f"{name} is {ids_BT.dtype} of shape {list(ids_BT.shape)}; bags are folded from 2-D "
            "integer rows [B, T]. Pass token ids as int64, one row per sample."
        )
    return ids_BT


def _fold(values_BT: torch.Tensor, bag_size: int, name: str) -> torch.Tensor:
    rows, length = values_BT.shape
    if length % bag_size:
        raise ValueError(
            f"{name} has {length} tokens a row; bag_size {bag_size} needs a multiple of {bag_size}. Use "
            f"rows of {length // bag_size * bag_size or bag_size} tokens, or a bag_size that divides "
            f"{length}."
        )
    return values_BT.reshape(rows, length // bag_size, bag_size)
