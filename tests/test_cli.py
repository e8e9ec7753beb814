"""The dispatcher: names, help and exit codes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tst_tools import cli


def test_unknown_command_names_the_nearest_and_exits_2(capsys):
    assert cli.main(["prepair"]) == 2
    assert "did you mean `tst prepare`?" in capsys.readouterr().err
    assert cli.main(["--verson"]) == 2
    assert "did you mean `tst --version`?" in capsys.readouterr().err


def test_no_command_prints_usage_on_stderr_and_exits_2(capsys):
    assert cli.main([]) == 2
    assert "tst COMMAND" in capsys.readouterr().err


def test_the_version_is_that_of_the_project(capsys):
    assert cli.main(["--version"]) == 0
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    (version,) = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    assert capsys.readouterr().out == f"tst {version}\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself_with_one_command_to_paste(name, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    assert f"tst {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_loads_neither_torch_nor_composer(name):
    code = (
        "import sys\nfrom tst_tools import cli\n"
        f"try:\n    cli.main([{name!r}, '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = ('torch', 'composer', 'streaming', 'transformers')\n"
        "print([m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_a_user_error_is_one_message_and_exit_code_2(tmp_path, capsys):
    assert cli.main(["verify", str(tmp_path / "nothing-here")]) == 2
    captured = capsys.readouterr()
    assert "tst verify: error: " in captured.err
    assert "Traceback" not in captured.err


def test_our_own_warnings_come_without_code_and_those_of_libraries_as_they_are(tmp_path, tokenizer_dir):
    (tmp_path / "a.txt").write_text("some words " * 9)
    code = (
        "import sys, warnings\nfrom tst_tools import cli\nimport tstdata\nreal = tstdata.prepare\n"
        "def prepare(*given, **how):\n    warnings.warn('of a library')\n    return real(*given, **how)\n"
        "tstdata.prepare = prepare\nsys.exit(cli.main(sys.argv[1:]))\n"
    )
    command = [
        "prepare",
        "a.txt",
        "a.txt",
        "--out",
        "out",
        "--tokenizer",
        str(tokenizer_dir),
        "--seq-len",
        "2",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0
    said = [line for line in done.stderr.splitlines() if "arning" in line]
    assert "tst prepare: warning: a.txt is named by more than one source" in said[1]
    assert "<string>:6: UserWarning: of a library" in said[0]
    assert len(said) == 2
