"""The tokenizer of a run: training needs none, but every checkpoint carries it for whoever exports it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tstdata import DatasetCard, StreamingBagDataset

    from .config import RunConfig

MAIN_FILE = "tokenizer.json"


def load_tokenizer(config: "RunConfig", dataset: "StreamingBagDataset") -> Any:
    """Returns a transformers tokenizer, or None when neither the YAML nor the data has one.

    Args:
        config: Its `tokenizer.name` is taken first; it must be the card's tokenizer, if there is a card.
        dataset: Else the folder `tokenizer/` beside its shards is taken, fetched if they are remote.

    Raises:
        FileNotFoundError: `tokenizer.name` holds no tokenizer.json.
        ValueError: The tokenizer would give other ids than the data's.
    """
    if config.tokenizer is None:
        folder = _beside_shards(dataset)
        return _from_folder(folder, dataset.card) if folder is not None else None
    folder = Path(config.tokenizer.name)
    if not (folder / MAIN_FILE).is_file():
        raise FileNotFoundError(
            f"tokenizer.name: {folder} holds no {MAIN_FILE}; give a Hugging Face tokenizer folder"
        )
    tokenizer = _from_folder(folder, dataset.card)
    dataset.stored.check_model(None, tokenizer)
    return tokenizer


def _beside_shards(dataset: "StreamingBagDataset") -> Path | None:
    """Returns the folder of the dataset's tokenizer, fetched from the remote if it is not here yet."""
    stream, card = dataset.described_stream, dataset.card
    folder = Path(stream.local, stream.split, "tokenizer")
    if not (folder / MAIN_FILE).is_file() and stream.remote and card is not None:
        folder.mkdir(exist_ok=True)
        # The main file last: it tells that all are here. Each rank under a name of its own, then renamed.
        for name in sorted(card.tokenizer.files, key=lambda name: name == MAIN_FILE):
            fetched = stream._download_file(f"tokenizer/{name}", f"tokenizer/{name}.{os.getpid()}")
            os.replace(fetched, folder / name)
    return folder if (folder / MAIN_FILE).is_file() else None


def _from_folder(folder: Path, card: "DatasetCard | None") -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if (folder / "tokenizer_config.json").is_file():
        return AutoTokenizer.from_pretrained(str(folder))
    # A bare tokenizer.json names no special tokens; end-of-text is the one the data were made with.
    eos_token = card.tokenizer.eos_token if card is not None else None
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / MAIN_FILE), eos_token=eos_token)
