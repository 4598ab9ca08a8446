"""The README shows what the program really says; `--regold` writes it anew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kubectl_imagecache.render.words import readme_table

README = Path(__file__).parent.parent / "README.md"


def block(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", README.read_text(), re.DOTALL)
    assert found is not None, f"README.md has no block {name}"
    return found[1]


def hold(name: str, text: str, regold: bool) -> None:
    if regold:
        head, tail = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        README.write_text(README.read_text().replace(head + block(name) + tail, head + text + tail))
    assert block(name) == text


def test_its_table_of_reasons_is_the_programs(pytestconfig: pytest.Config) -> None:
    hold("reasons", readme_table(), bool(pytestconfig.getoption("--regold")))


def test_its_status_is_the_sandboxs(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "COLUMNS": "110"}
    command = [sys.executable, "-m", "kubectl_imagecache", "status", "--sandbox"]
    answer = subprocess.run(command, env=env, cwd=README.parent, capture_output=True, text=True, check=True)
    hold(
        "status",
        f"```console\n$ kubectl imagecache status --sandbox\n{answer.stdout}```\n",
        bool(pytestconfig.getoption("--regold")),
    )
