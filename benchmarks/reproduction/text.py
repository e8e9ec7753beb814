"""The reproduction's text, tokenizer and bag shards; each is made once."""

import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from experiment import Corpus, Experiment

END_OF_TEXT = "<|endoftext|>"
# Documents that the merges are learnt from.
TOKENIZER_DOCUMENTS = 3000


def make_data(experiment: Experiment, work: Path, workers: int) -> None:
    """Makes `tokenizer/` and the bag shards `data/train` and `data/val` in a directory."""
    jsonl = _corpus(experiment.corpus, work)
    _tokenizer(jsonl, work / "tokenizer", experiment.vocab_size)
    if (work / "data" / "val" / "dataset.json").is_file():
        return
    prepare = [sys.executable, "-m", "tst_tools", "prepare", str(jsonl), "--out", str(work / "data")]
    prepare += ["--tokenizer", str(work / "tokenizer"), "--seq-len", str(experiment.seq_len)]
    prepare += ["--holdout", str(experiment.holdout), "--workers", str(workers)]
    subprocess.run(prepare, check=True)


def _corpus(corpus: Corpus, work: Path) -> Path:
    if corpus.kind == "debian":
        script = Path(__file__).parent.parent / "corpus.py"
        build = [sys.executable, str(script), "--megabytes", str(corpus.megabytes), "--work", str(work)]
        subprocess.run(build, check=True)
        return work / f"corpus-{corpus.megabytes}.jsonl"
    file = work / "python.jsonl"
    if not file.is_file():
        aside = file.with_suffix(".tmp")
        with aside.open("w") as out:
            for text in _python_library(corpus.megabytes * 10**6):
                out.write(json.dumps({"text": text}) + "\n")
        aside.replace(file)
    return file


def _python_library(num_bytes: int) -> Iterator[str]:
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("**/*.py")):
        if num_bytes > 0 and not {"site-packages", "test", "tests"} & set(path.parts):
            text = path.read_text("utf-8", errors="replace")
            num_bytes -= len(text)
            yield text


def _tokenizer(jsonl: Path, folder: Path, vocab_size: int) -> None:
    """Writes a byte-level BPE tokenizer as a Hugging Face folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if (folder / "tokenizer_config.json").is_file():
        return
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    with jsonl.open() as lines:
        texts = (json.loads(line)["text"] for line in islice(lines, TOKENIZER_DOCUMENTS))
        tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
