"""What the documents tell people to type can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kubectl_imagecache.cli.main import COMMANDS, cli
from tests.cli.conftest import ROOT, Program

PAGES = [ROOT / "README.md", ROOT / "BENCHMARKS.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
FLAG = re.compile(r"--[a-z][a-z-]*[a-z]")


def fenced_lines(page: Path) -> Iterator[str]:
    """What stands in PAGE to be typed, a command a line, its comment taken off."""
    for block in FENCED.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            yield line.removeprefix("$ ").partition(" #")[0].strip()


def written(page: Path) -> list[list[str]]:
    """The words of every command of ours in PAGE, in a block or amid the text; the first is the command's name."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    indented = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    found = []
    for line in [*fenced_lines(page), *indented, *SPAN.findall(text)]:
        words = line.replace("kubectl imagecache", "").split()
        if words and words[0].startswith("--") and page.stem in COMMANDS:
            words.insert(0, page.stem)  # a page of one command names its flags alone
        if words and words[0] in COMMANDS:
            found.append(words)
    return found


def flags_of(words: list[str]) -> set[str]:
    """Every flag of the command that WORDS begin with."""
    context = click.Context(cli)
    command: click.Command | None = cli
    for word in words:
        if not isinstance(command, click.Group):
            break
        command = command.get_command(context, word) or command
    assert command is not None
    names = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    return names | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_that_a_document_gives_to_a_command_is_one(page: Path) -> None:
    wrong = [
        (" ".join(words), flag)
        for words in written(page)
        for flag in FLAG.findall(" ".join(words))
        if flag not in flags_of(words)
    ]
    assert wrong == []


EXAMPLES = [
    line
    for page in PAGES
    for line in fenced_lines(page)
    if line.startswith("kubectl imagecache") and "--sandbox" in line
]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 6 and sum(len(written(page)) for page in PAGES) > 100


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_on_a_sandbox_runs_as_it_stands(program: Program, line: str) -> None:
    found = program.run(*shlex.split(line), timeout=120)
    assert found.returncode == 0, found.stderr
    assert found.stdout
