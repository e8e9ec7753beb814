"""Prints the table of bad input: for each kind, what `tst prepare` says, its exit code, and what is left.

  python benchmarks/bad_input.py

Each case is run twice, with --on-error fail and with skip, beside a good file of three documents.
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from bad_inputs import BAD, GOOD
from tokenizers import Tokenizer, models, pre_tokenizers
from tst_tools.cli import main as tst

from tstdata import engine, tasks


def vanish(path: Path) -> None:
    """Removes the file when it has been hashed and is about to be read."""
    path.unlink()


def grow(path: Path) -> None:
    """Adds to the file when it has been hashed."""
    path.write_bytes(path.read_bytes() + GOOD)


# A name, the bytes, and what happens between hashing and reading.
MORE: dict[str, tuple[str, bytes, Callable[[Path], None]]] = {
    "file vanishes": ("a.jsonl", GOOD, vanish),
    "file changes": ("a.jsonl", GOOD, grow),
}


def main(argv: list[str] | None = None) -> int:
    """Prints the table."""
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    print("| input | said (--on-error fail) | exit | left | skip: exit | documents | rejects |")
    print("|---|---|---|---|---|---|---|")
    cases = {name: (file, data, None) for name, (file, data, _) in BAD.items()}
    for name, (file, data, act) in {**cases, **MORE}.items():
        cells = [*run_case(file, data, act, "fail"), *run_case(file, data, act, "skip")]
        print(f"| {name} | {' | '.join(cells)} |")
    return 0


def run_case(name: str, data: bytes, act: Callable[[Path], None] | None, on_error: str) -> list[str]:
    """Runs one case; returns its cells."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / name).write_bytes(data)
        (folder / "z.jsonl").write_bytes(GOOD * 3)
        tokenizer = Tokenizer(models.WordLevel({"good": 0, "<eot>": 1, "[UNK]": 2}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.save(str(folder / "tokenizer.json"))
        out = folder / "out"
        command = [
            *(
                "prepare",
                str(folder / name),
                str(folder / "z.jsonl"),
                "--out",
                str(out),
                "--seq-len",
                "2",
                "--encoder",
                "reference",
            ),
            *("--tokenizer", str(folder / "tokenizer.json"), "--eos-token", "<eot>", "--on-error", on_error),
        ]
        said, code = run(command, None if act is None else lambda: act(folder / name))
        message = next((line for line in reversed(said.splitlines()) if "error:" in line), "")
        message = message.partition("error: ")[2].replace(f"{folder}{os.sep}", "").replace("|", "\\|")
        if on_error == "fail":
            return [message, str(code), ", ".join(sorted(os.listdir(out))) if out.exists() else "nothing"]
        lines = [line for line in said.splitlines() if line.startswith("documents ")]
        counted = [line.partition(" ")[2].strip() for line in lines]
        rejects = out / "rejects.jsonl"
        listed = len(rejects.read_bytes().splitlines()) if rejects.exists() else 0
        return [str(code), counted[0].split(" ")[0] if counted else "none", str(listed)]


def run(command: list[str], before_reading: Callable[[], None] | None) -> tuple[str, int]:
    """Runs `tst` in this process; returns what it printed and its exit code."""
    output = io.StringIO()
    original = tasks.run_task

    def act_then_run(*arguments: object) -> object:
        assert before_reading is not None
        with contextlib.suppress(FileNotFoundError):
            before_reading()
        return original(*arguments)

    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        if before_reading is not None:
            engine.run_task = act_then_run
        try:
            code = tst(command)
        finally:
            engine.run_task = original
    return output.getvalue(), code


if __name__ == "__main__":
    sys.exit(main())
