"""`tst eval` where the harness is not: what it says. With it, tests/evaluation runs (`make test-eval`)."""

import importlib.util

import pytest
from tst_tools import cli


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="lm-evaluation-harness is here")
def test_without_the_extra_it_says_what_to_install(tmp_path, capsys):
    assert cli.main(["eval", str(tmp_path), "--tasks", "hellaswag", "--data", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "make eval-env" in told
    assert "pip install 'tst-toolkit[eval]'" in told
