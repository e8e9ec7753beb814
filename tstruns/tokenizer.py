"""The tokenizer of a run: training needs none, but every checkpoint carries it for whoever exports it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tstdata import DatasetCard

    from .config import RunConfig


def load_tokenizer(config: "RunConfig", card: "DatasetCard | None") -> Any:
    """Returns a transformers tokenizer, or None when neither the data nor the YAML has one.

    The folder `tokenizer/` beside the training shards is taken first, then the YAML's `tokenizer.name`.

    Raises:
        FileNotFoundError: `tokenizer.name` holds no tokenizer.json.
    """
    if config.tokenizer is not None:
        folder = Path(config.tokenizer.name)
        if not (folder / "tokenizer.json").is_file():
            raise FileNotFoundError(
                f"tokenizer.name: {folder} holds no tokenizer.json; give a Hugging Face tokenizer folder"
            )
    else:
        data = config.train_loader.dataset
        folder = Path(data.local or "", data.split or "", "tokenizer")
        if data.local is None or not (folder / "tokenizer.json").is_file():
            return None
    return _from_folder(folder, card.tokenizer.eos_token if card is not None else None)


def _from_folder(folder: Path, eos_token: str | None) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if (folder / "tokenizer_config.json").is_file():
        return AutoTokenizer.from_pretrained(str(folder))
    # A bare tokenizer.json names no special tokens; end-of-text is the one the data were made with.
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), eos_token=eos_token)
