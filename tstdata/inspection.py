"""Inspecting: a row, or a bag row of s rows, decoded and traced to its documents."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from .card import DatasetCard
from .dataset_files import DatasetFiles, DatasetPath
from .merging import TOKENIZER_DIR
from .shard_reading import locate_row, read_rows, rows_of_shard
from .shards import shard_names
from .tokenizer import IdsOnly, LoadedTokenizer, load_tokenizer
from .trace import TracedDocument, trace


@dataclass(frozen=True)
class InspectedRow:
    """Rows `row` .. `row + bag_size - 1`, which lie in one shard, as one row of bags.

    `row_in_shard` counts the rows of that shard from 0. `tokens` are the texts of `ids` one by one: a
    character that several tokens share shows as a replacement character in each.
    """

    row: int
    bag_size: int
    shard: str
    row_in_shard: int
    ids: list[int]
    tokens: list[str]
    text: str
    documents: list[TracedDocument]

    def bags(self) -> list[list[str]]:
        """Returns the texts of the tokens, bag by bag."""
        return [self.tokens[at : at + self.bag_size] for at in range(0, len(self.tokens), self.bag_size)]


def check_row(row: int, files: DatasetFiles, card: DatasetCard) -> None:
    """Refuses a row that there is not.

    Raises:
        ValueError: It says which there are.
    """
    if not 0 <= row < card.num_rows:
        raise ValueError(f"row {row} is not in {files}: it has rows 0 to {card.num_rows - 1}.")


def inspect_row(dataset: DatasetPath, row: int, bag_size: int = 1) -> InspectedRow:
    """Decodes a row of a dataset (`bag_size` 1), or the bag row that begins there, and traces its documents.

    Raises:
        ValueError: There is no such row or bag row, or its files are damaged.
        OSError: A file can't be read.
    """
    files = DatasetFiles.of(dataset)
    card = DatasetCard.load(files)
    if bag_size < 1:
        raise ValueError(f"bag size is {bag_size}; a bag holds at least 1 token: give --bag-size 4, say.")
    check_row(row, files, card)
    shard, at = locate_row(row, card)
    rows_left = rows_of_shard(shard, card) - at
    if bag_size > rows_left:
        raise ValueError(
            f"a bag row is {bag_size} rows of one shard, but from row {row} its shard has only {rows_left}. "
            "Give a --row of another shard, or a smaller --bag-size."
        )
    ids = read_rows(files, card, row, bag_size).reshape(-1).tolist()
    backend = stored_tokenizer(files, card).backend
    raw_name, zip_name = shard_names(shard, card.recipe.compression)
    start = row * card.seq_len
    return InspectedRow(
        row=row,
        bag_size=bag_size,
        shard=zip_name or raw_name,
        row_in_shard=at,
        ids=ids,
        tokens=[backend.decode([one], skip_special_tokens=False) for one in ids],
        text=backend.decode(ids, skip_special_tokens=False),
        documents=trace(files, card, start, start + len(ids)),
    )


def stored_tokenizer(files: DatasetFiles, card: DatasetCard) -> LoadedTokenizer:
    """Loads the tokenizer that lies beside the shards.

    Raises:
        FileNotFoundError: A file of it is missing.
    """
    if not card.tokenizer.files:
        return LoadedTokenizer(IdsOnly(), {}, card.tokenizer)
    if not files.is_remote:
        for name in card.tokenizer.files:
            if not files.exists(f"{TOKENIZER_DIR}/{name}"):
                raise FileNotFoundError(
                    f"{files.path(f'{TOKENIZER_DIR}/{name}')} is missing: copy it from the tokenizer that "
                    "the dataset was prepared with."
                )
        return load_tokenizer(files.path(TOKENIZER_DIR), card.tokenizer.eos_token)
    with tempfile.TemporaryDirectory() as folder:
        files.copy_to(Path(folder), [f"{TOKENIZER_DIR}/{name}" for name in card.tokenizer.files])
        return load_tokenizer(Path(folder, TOKENIZER_DIR), card.tokenizer.eos_token)
