"""The `tst` command: picks the command's module, imports only that one, prints user errors as messages."""

import contextlib
import difflib
import importlib
import importlib.metadata
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

# The folders of our own code, by which our warnings are told from those of libraries.
_OURS = ("tstdata", "composer_algo", Path(__file__).parent.name)

COMMANDS = {
    "prepare": "tokenise a corpus into bag shards",
    "inspect": "print a dataset's card and decode rows",
    "verify": "re-read every byte of a dataset against its promises",
    "plan": "say what a run will read, cost and be, before it starts",
    "train": "run a Composer Trainer from a YAML file",
    "compare": "report on finished runs at equal FLOPs, equal loss and equal data",
    "export": "write a checkpoint as an ordinary Hugging Face directory",
    "eval": "run lm-evaluation-harness on an exported model",
    "demo": "prepare, train a baseline and a TST run, and compare: the whole product in minutes",
}


def usage() -> str:
    """Returns the text of `tst --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: tst COMMAND ...",
            "",
            *lines,
            "",
            "`tst COMMAND --help` tells each one's arguments, `tst --version` the version.",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns 0 when fine, 1 when a check failed, 2 on bad usage or bad input."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    if argv == ["--version"]:
        print(f"tst {importlib.metadata.version('tst-toolkit')}")
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, [*COMMANDS, "--version"], n=1)
        hint = f"did you mean `tst {near[0]}`?" if near else "`tst --help` lists the commands."
        print(f"tst: no command named {name!r}; {hint}", file=sys.stderr)
        return 2
    try:
        with _own_warnings_plain(name):
            return int(importlib.import_module(f".{name}", __package__).main(rest))
    except BrokenPipeError:
        # Our reader has gone, as with `| head`; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError) as error:
        if os.environ.get("TST_TRACEBACK"):
            raise
        print(f"tst {name}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\ntst {name}: interrupted; run the same command again to go on", file=sys.stderr)
        return 130


@contextlib.contextmanager
def _own_warnings_plain(name: str) -> Iterator[None]:
    """Leaves out of our own warnings the line of code that they come from."""
    formatted = warnings.formatwarning

    def plain(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if Path(filename).parent.name in _OURS:
            return f"tst {name}: warning: {message}\n"
        return formatted(message, category, filename, lineno, line)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = formatted


if __name__ == "__main__":
    sys.exit(main())
