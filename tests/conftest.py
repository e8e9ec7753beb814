"""Shared fixtures: a small tokenizer trained on Python's own source text, a small corpus, a small dataset."""

import gzip
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import leftovers
import object_stores
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import tstdata

# Needs LLM Foundry, in an environment of its own: `make test-foundry`.
collect_ignore = ["foundry", "evaluation", "on_ray"]

END_OF_TEXT = "<|endoftext|>"
BEGIN_OF_TEXT = "<|begin|>"
SMALL_SEQ_LEN = 32


def stdlib_files(num_files: int, package: str = ".") -> list[Path]:
    """Source files of the Python installation: real text that is on every machine."""
    return sorted((Path(sysconfig.get_path("stdlib")) / package).glob("*.py"))[:num_files]


@pytest.fixture(autouse=True, scope="module")
def _nothing_of_killed_runs() -> None:
    # Every dataset that starts looks at all shared memory there is, and Streaming keeps open what it looked
    # at: a few dozen killed runs and a few hundred tests make "Too many open files".
    leftovers.clear()


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer of 1,024 ids, as transformers saves one; end-of-text is id 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=[END_OF_TEXT, BEGIN_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(path) for path in stdlib_files(30)], trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "model_max_length": 1_000_000,
    }
    (folder / "tokenizer_config.json").write_bytes(orjson.dumps(config))
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_dir: Path) -> Tokenizer:
    """The same tokenizer, loaded and set as a reference should be: text that looks special is text."""
    loaded = Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))
    loaded.encode_special_tokens = True
    return loaded


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A directory with one file of each kind, and all its documents in the order that prepare must keep."""
    folder = tmp_path_factory.mktemp("corpus")
    texts = [path.read_text("utf-8") for path in stdlib_files(24, "asyncio") + stdlib_files(20, "json")]
    odd = [
        "",
        f"{END_OF_TEXT} is no end {BEGIN_OF_TEXT}",
        "nai\u0308ve \U0001f469\u200d\U0001f4bb\r\n\t \u0000 \ufeff",
        "",
    ]
    parts = [texts[:6], texts[6:10] + odd, texts[10:14], texts[14:20], texts[20:]]
    lines = [
        b"".join(orjson.dumps({"id": i, "text": t}) + b"\n" for i, t in enumerate(part)) for part in parts
    ]
    (folder / "a.jsonl").write_bytes(lines[0])
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines[1]))
    (folder / "c.jsonl.zst").write_bytes(zstandard.compress(lines[2]))
    pq.write_table(
        pa.table({"text": parts[3], "n": range(len(parts[3]))}), folder / "d.parquet", row_group_size=2
    )
    (folder / "e").mkdir()
    for number, text in enumerate(parts[4]):
        (folder / "e" / f"{number:03}.py").write_bytes(text.encode())
    return folder, [text for part in parts for text in part]


@pytest.fixture(scope="session")
def small_dataset(
    corpus: tuple[Path, list[str]], tokenizer_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The corpus as bag shards: rows of SMALL_SEQ_LEN tokens, 4 full shards and an odd one. Read only."""
    out = tmp_path_factory.mktemp("dataset") / "bags"
    tstdata.prepare(corpus[0], out, tokenizer_dir, SMALL_SEQ_LEN, size_limit=70_000)
    return out


@pytest.fixture(scope="session")
def compressed_dataset(
    corpus: tuple[Path, list[str]], tokenizer_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same rows in zstd shards. Read only: Streaming would decompress into it."""
    out = tmp_path_factory.mktemp("compressed") / "bags"
    tstdata.prepare(corpus[0], out, tokenizer_dir, SMALL_SEQ_LEN, size_limit=70_000, compression="zstd")
    return out


@pytest.fixture(params=["plain", "zstd"])
def dataset_copy(
    request: pytest.FixtureRequest, small_dataset: Path, compressed_dataset: Path, tmp_path: Path
) -> Path:
    """A copy of either dataset, which a test may damage."""
    return Path(
        shutil.copytree(small_dataset if request.param == "plain" else compressed_dataset, tmp_path / "bags")
    )


@pytest.fixture(scope="session")
def seaweedfs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object_stores.ObjectStore]:
    """SeaweedFS, for the whole session; use `object_store`, which also sets the environment."""
    with object_stores.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as store:
        yield store


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object_stores.ObjectStore]:
    """Moto's server, for the whole session; use `second_object_store`, which also sets the environment."""
    with object_stores.moto(tmp_path_factory.mktemp("moto")) as store:
        yield store


@pytest.fixture
def object_store(
    seaweedfs_server: object_stores.ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> object_stores.ObjectStore:
    """A real S3 store, and the environment that SDKs find it by. Tests share it: each takes a prefix."""
    for name, value in seaweedfs_server.environment.items():
        monkeypatch.setenv(name, value)
    return seaweedfs_server


@pytest.fixture
def second_object_store(
    moto_server: object_stores.ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> object_stores.ObjectStore:
    """Another server's S3, against the first one's habits."""
    for name, value in moto_server.environment.items():
        monkeypatch.setenv(name, value)
    return moto_server
