"""The demo's corpus: the source text of the machine's own Python installation, and a tokenizer of it."""

import hashlib
import itertools
import json
import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path

END_OF_TEXT = "<|endoftext|>"
# Files read to learn the merges from: more of them take longer and change little at this vocabulary.
TOKENIZER_BYTES = 4_000_000
SMALL_FILE = 16_000


@dataclass(frozen=True)
class DemoText:
    """Two parts of the installation's files; no file is in both."""

    train: list[Path]
    heldout: list[Path]


def collect_text(train_bytes: int, heldout_bytes: int) -> DemoText:
    """Picks files of the standard library, the held-out ones first, until each part has its size.

    The order is that of a hash of each file's path: a fixed mix of the whole library, whatever its folders.
    The held-out part is made of small files, or a few large tables would be most of it. With less text than
    asked for the training part is smaller.

    Raises:
        ValueError: The installation has hardly any source text.
    """
    root = Path(sysconfig.get_path("stdlib"))
    files = [path for path in root.rglob("*.py") if "site-packages" not in path.parts and _is_text(path)]
    files.sort(key=lambda path: hashlib.sha256(path.relative_to(root).as_posix().encode()).digest())
    heldout = _take([path for path in files if path.stat().st_size < SMALL_FILE], heldout_bytes)
    kept_out = {*heldout}
    train = _take([path for path in files if path not in kept_out], train_bytes)
    if not heldout or not train:
        raise ValueError(
            f"{root} has {len(files)} Python files: too few for the demo, which needs the standard library"
        )
    return DemoText(train, heldout)


def _is_text(path: Path) -> bool:
    try:
        return bool(path.read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError):  # the library's tests hold files of other encodings on purpose
        return False


def _take(files: list[Path], num_bytes: int) -> list[Path]:
    """Returns the first files that have this size together."""
    ends = itertools.accumulate(path.stat().st_size for path in files)
    return files[: 1 + sum(end < num_bytes for end in ends)]


def train_tokenizer(files: list[Path], folder: Path, vocab_size: int) -> None:
    """Writes a byte-level BPE tokenizer as a Hugging Face folder, unless it is there already."""
    if folder.is_dir():
        return
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(path) for path in _take(files, TOKENIZER_BYTES)], trainer)
    aside = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    aside.mkdir(parents=True)
    tokenizer.save(str(aside / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT}
    (aside / "tokenizer_config.json").write_text(json.dumps(config))
    aside.rename(folder)
