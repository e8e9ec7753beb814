"""The LLM Foundry page is executed, block by block, as test_docs.py executes the others."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "foundry" / "add-tst.md"


def test_every_block_of_the_page_runs_in_order(tmp_path, environment):
    for number, (language, code) in enumerate(
        re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.M | re.S), 1
    ):
        if language == "yaml":
            file = re.match(r"# (\S+\.yaml)\n", code)
            assert file, f"block {number}: a yaml block starts with the name of its file"
            (tmp_path / file[1]).write_text(code)
            continue
        command = {"bash": ["bash", "-euo", "pipefail"], "python": [sys.executable]}[language]
        done = subprocess.run(
            [*command, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        logs = "".join(file.read_text()[-3000:] for file in tmp_path.glob("*.log"))
        assert done.returncode == 0, f"block {number} failed:\n{code}\n{done.stderr[-4000:]}\n{logs}"
