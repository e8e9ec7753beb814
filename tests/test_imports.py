"""Which room may import what, and that preparing needs neither torch nor anything that loads it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("tstdata", "composer_algo", "tstruns", "tools")
HEAVY = {"torch", "streaming", "composer", "transformers"}
# The modules of two rooms that may load heavy libraries, and which; all others there load none.
MAY_LOAD = {
    "tstdata": {
        "dataset": {"streaming", "torch"},
        "dataloader": {"composer", "streaming", "torch"},
        "batch_groups": {"torch"},
        "stored_batch": {"torch"},
    },
    "composer_algo": {
        "algorithm": {"composer", "transformers"},
        "hugging_face": {"composer", "transformers"},
    },
}


def imports_of(path: Path) -> set[str]:
    """The top-level names that a file imports, anywhere in it; `tools` and `tst_tools` are one."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, f"{path}: a relative import out of its room"
    return {"tools" if name == "tst_tools" else name for name in found}


def modules() -> list[tuple[str, Path]]:
    return [(room, path) for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize(("room", "path"), modules(), ids=[f"{r}/{p.name}" for r, p in modules()])
def test_no_room_imports_what_it_may_not(room, path):
    found = imports_of(path)
    forbidden = {"tests", "tools", "tst_tools"} if room != "tools" else {"tests"}
    forbidden |= {
        "tstdata": {"composer_algo", "tstruns"},
        "composer_algo": {"tstdata", "tstruns"},
    }.get(room, set())
    assert not found & forbidden
    if room == "tstdata":
        assert not (found & HEAVY) - MAY_LOAD[room].get(path.stem, set())
    elif room == "composer_algo":
        assert not (found & (HEAVY - {"torch"})) - MAY_LOAD[room].get(path.stem, set())


def test_importing_tstdata_loads_no_heavy_library():
    code = f"import sys, tstdata; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_prepare_verify_and_inspect_run_where_no_heavy_library_is_installed(tmp_path, corpus, tokenizer_dir):
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from tst_tools import cli
source, out, tokenizer = sys.argv[1:]
assert cli.main(["prepare", source, "--out", out, "--tokenizer", tokenizer, "--seq-len", "64"]) == 0
assert cli.main(["verify", out]) == 0
assert cli.main(["inspect", out, "--row", "3", "--bag-size", "2"]) == 0
"""
    arguments = [str(corpus[0]), str(tmp_path / "out"), str(tokenizer_dir)]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)


def test_every_public_name_of_tstdata_can_be_loaded():
    import tstdata

    for name in tstdata.__all__:
        assert getattr(tstdata, name).__module__.startswith("tstdata.")
    with pytest.raises(AttributeError, match="no attribute 'nothing'; it has DatasetCard"):
        _ = tstdata.nothing
