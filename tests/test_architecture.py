from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kubectl_imagecache"
MAY_IMPORT = {
    "core": {"core"},
    "render": {"core", "render"},
    "clients": {"core", "clients"},
    "builder": {"core", "builder"},
    "usecases": {"core", "clients", "builder", "usecases"},
    "sandbox": {"core", "builder", "sandbox"},
    "cli": {"core", "render", "clients", "usecases", "sandbox", "cli"},
}
HEAVY = ("google", "kubernetes", "msgspec", "yaml", "tabulate", "urllib3", "requests", "cryptography")


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} imports relatively"
            yield node.module or ""


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


def test_every_room_of_the_house_has_its_rule() -> None:
    assert {path.relative_to(PACKAGE).parts[0] for path in modules()} <= set(MAY_IMPORT)


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_one_way(file: Path) -> None:
    room = file.relative_to(PACKAGE).parts[0]
    for name in imports(file):
        parts = name.split(".")
        if parts[0] == "kubectl_imagecache":
            assert len(parts) == 1 or parts[1] in MAY_IMPORT[room], f"{room} may not import {name}"
        elif room in ("core", "sandbox"):
            assert parts[0] in sys.stdlib_module_names, f"{room} is to need only the standard library, not {name}"


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_every_module_says_in_one_sentence_what_it_is_for(file: Path) -> None:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    assert docstring and docstring.splitlines()[0].endswith("."), f"{file} opens without a sentence"


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["version"],
        ["status", "--help"],
        ["list", "--help"],
        ["diff", "--help"],
        ["pulls", "--help"],
        ["sandbox", "--help"],
        ["bench", "--help"],
        ["bench", "--image", "nginx"],
        ["rebuild", "--help"],
        ["rebuild"],
        ["disks", "sweep", "--help"],
        ["disks", "gc", "--help"],
        ["rebuild", "--timeout", "soon"],
        ["statsu"],
        ["status", "--colour"],
        ["status", "--color", "sometimes"],
        ["status", "-o", "jason"],
        ["status", "--sandbox=nowhere"],
        ["__complete", ""],
        ["__complete", "status", "--"],
        ["__complete", "status", "-o", ""],
        ["__complete", "status", "--sandbox="],
        ["__complete", "list", "--color", ""],
        ["__complete", "sandbox", ""],
    ],
    ids=" ".join,
)
def test_words_that_need_no_cluster_import_nothing_heavy(args: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "kubectl_imagecache", *args]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"}
    found = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    imported = re.findall(r"^import time:.*\| +(\S+)$", found.stderr, re.MULTILINE)
    assert "click" in imported
    assert [name for name in imported if name.split(".")[0] in HEAVY] == []
    assert "Traceback" not in found.stderr
