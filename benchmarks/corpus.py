"""The benchmark corpus: prose and code, half each by bytes, out of Debian's packages.

  python benchmarks/corpus.py --megabytes 300 --work /tmp/tst-benchmark

Packages are fetched by `apt-get download` and unpacked, never installed. HTML and man pages become prose by
dropping their markup. Documents are files, each text once, prose and code in turn, in the order of a hash of
their paths: so a smaller corpus is the beginning of a larger one.
"""

import argparse
import hashlib
import html
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

PROSE = ("linux-doc-6.1", "python3.11-doc", "erlang-doc", "postgresql-doc-15", "perl-doc", "debian-handbook")
PROSE += ("openjdk-17-doc",)
CODE = ("golang-1.19-src", "rust-src", "libboost1.74-dev")
_PROSE_NAMES = (".html", ".htm", ".txt", ".rst", ".pod", ".xhtml")
_CODE_NAMES = (".go", ".rs", ".hpp", ".h", ".ipp", ".c", ".py", ".s", ".md")
_DROPPED = re.compile(r"<(script|style|head|nav)\b.*?</\1>|<!--.*?-->", re.S | re.I)
_BLANKS = re.compile(r"[ \t]+\n|\n{3,}")
_ROWS_A_GROUP = 1000


def main() -> None:
    """Builds the corpus and says what it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--work", type=Path, default=Path("/tmp/tst-benchmark"))
    args = parser.parse_args()
    jsonl = build_corpus(args.work, args.megabytes)
    print(jsonl, jsonl.stat().st_size, "bytes")


def build_corpus(work: Path, megabytes: int) -> Path:
    """Returns a jsonl of so many megabytes of text (fewer if the packages hold less); beside it a parquet."""
    jsonl = work / f"corpus-{megabytes}.jsonl"
    if not jsonl.exists():
        prose = _documents(_unpack(work, PROSE), _PROSE_NAMES)
        code = _documents(_unpack(work, CODE), _CODE_NAMES)
        texts = list(_in_turn(prose, code, megabytes * 10**6))
        table = pa.table({"text": texts, "n": range(len(texts))})
        pq.write_table(table, jsonl.with_suffix(".parquet"), row_group_size=_ROWS_A_GROUP)
        aside = jsonl.with_suffix(".tmp")
        with open(aside, "wb") as file:
            file.writelines(orjson.dumps({"text": text, "n": n}) + b"\n" for n, text in enumerate(texts))
        aside.rename(jsonl)
    return jsonl


def repeat_corpus(jsonl: Path, times: int) -> Path:
    """Returns a jsonl of the corpus `times` over, each time with another first word; beside it a parquet."""
    large = jsonl.with_name(f"{jsonl.stem}-x{times}.jsonl")
    if not large.exists():
        aside = large.with_suffix(".tmp")
        schema = pa.schema([("text", pa.string()), ("n", pa.int64())])
        with open(aside, "wb") as out, pq.ParquetWriter(large.with_suffix(".parquet"), schema) as writer:
            for number in range(times):
                lines = jsonl.read_bytes().splitlines()
                texts = [f"{number} {orjson.loads(line)['text']}" for line in lines]
                out.writelines(orjson.dumps({"text": text, "n": n}) + b"\n" for n, text in enumerate(texts))
                table = pa.table({"text": texts, "n": range(len(texts))}, schema)
                writer.write_table(table, row_group_size=_ROWS_A_GROUP)
        aside.rename(large)
    return large


def _unpack(work: Path, packages: tuple[str, ...]) -> list[Path]:
    """Fetches packages and unpacks each into a folder of its own."""
    folders = [work / "packages" / name for name in packages]
    for folder in folders:
        if not folder.exists():
            debs = work / "debs"
            debs.mkdir(parents=True, exist_ok=True)
            if not list(debs.glob(f"{folder.name}_*.deb")):
                subprocess.run(["apt-get", "download", "-q", folder.name], cwd=debs, check=True)
            (deb,) = debs.glob(f"{folder.name}_*.deb")
            aside = folder.with_name(f"{folder.name}.tmp")
            aside.parent.mkdir(exist_ok=True)
            subprocess.run(["dpkg", "-x", deb, aside], check=True)
            aside.rename(folder)
    return folders


def _documents(folders: list[Path], names: tuple[str, ...]) -> Iterator[str]:
    """Yields the texts of all files of these extensions, in the order of a hash of their paths."""
    root = folders[0].parent
    files = [
        path for folder in folders for path in folder.rglob("*") if path.suffix in names and path.is_file()
    ]
    seen = set()
    for path in sorted(files, key=lambda path: hashlib.sha256(str(path.relative_to(root)).encode()).digest()):
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        if path.suffix in (".html", ".htm", ".xhtml"):
            text = html.unescape(re.sub(r"<[^>]*>", "", _DROPPED.sub("", text)))
            text = _BLANKS.sub("\n", text).strip()
        digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
        if text and digest not in seen:
            seen.add(digest)
            yield text


def _in_turn(prose: Iterator[str], code: Iterator[str], num_bytes: int) -> Iterator[str]:
    """Yields texts of whichever kind has had fewer bytes so far, until both together have enough."""
    kinds, had = (prose, code), [0, 0]
    while sum(had) < num_bytes:
        kind = had[1] < had[0]
        text = next(kinds[kind], None)
        if text is None:
            return
        had[kind] += len(text.encode("utf-8", "replace"))
        yield text


if __name__ == "__main__":
    main()
