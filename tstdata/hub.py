"""The hub: tokenizers by their name there, through huggingface_hub and its cache."""

import re
from collections.abc import Sequence
from pathlib import Path


def is_hub_name(path: str) -> bool:
    """Tells whether a path that is not there may be a hub name: NAME or OWNER/NAME, and no file's."""
    return re.fullmatch(r"(?:[\w][\w.-]*/)?[\w][\w.-]*", path) is not None and not path.endswith(
        (".json", ".model", ".tiktoken")
    )


def download_tokenizer(name: str, files: Sequence[str]) -> Path:
    """Returns the local directory of the tokenizer files of a model on the hub.

    Raises:
        FileNotFoundError: There is no such model, or it can't be reached and is not in the cache.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except Exception as error:  # It raises dozens of kinds, its HTTP library's among them.
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FileNotFoundError(
            f"{name} is no local path, and could not be had from the hub as a model's name: {first} Give "
            "--tokenizer the path of a tokenizer directory or file, or an existing OWNER/NAME; offline, one "
            "that was downloaded before."
        ) from None
