"""What a user's environment gets: top-level names, the console command, and a lock that pins everything."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOP_LEVEL = {"tstdata", "composer_algo", "tstruns", "tst_tools"}


def test_wheel_puts_no_tools_and_no_tests_on_the_path(tmp_path):
    # A copy, since setuptools leaves its build folders beside what it builds.
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "runs", "demo-output"))
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path]
    subprocess.run([*build, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == TOP_LEVEL
    entry_points = next(name for name in names if name.endswith("entry_points.txt"))
    text = zipfile.ZipFile(wheel).read(entry_points).decode()
    assert "tst = tst_tools.cli:main" in text
    assert "bag_shards = tstdata:build_bag_dataloader" in text
    assert "token_superposition = composer_algo:TokenSuperposition" in text


def test_lock_pins_every_package_by_hash_and_names_no_address():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert "--index-url" not in text
    requirements = re.findall(r"^([a-z0-9][\w.-]*)(.*(?:\n    .*)*)", text, flags=re.M)
    assert len(requirements) > 50
    loose = [name for name, rest in requirements if "==" not in rest or "--hash=sha256:" not in rest]
    assert loose == []


def test_lock_satisfies_every_declared_dependency():
    if sys.version_info < (3, 11):
        import tomli as tomllib
    else:
        import tomllib
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["train"]]
    declared += project["optional-dependencies"]["dev"]
    pinned: dict[str, list[str]] = {}
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), flags=re.M
    ):
        pinned.setdefault(name.lower(), []).append(version)
    for requirement in map(Requirement, declared):
        versions = pinned[requirement.name.lower()]
        assert all(requirement.specifier.contains(version) for version in versions), requirement
