"""Completion in kubectl's protocol: a candidate a line with its description, then `:DIRECTIVE`.

kubectl runs `kubectl_complete-imagecache WORDS… INCOMPLETE`; the scripts in completions/ run
`kubectl-imagecache __complete WORDS… INCOMPLETE`, which is the same.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import IntFlag

from click.shell_completion import CompletionItem, ShellComplete

from kubectl_imagecache.cli.main import cli
from kubectl_imagecache.cli.options import with_scenario


class Directive(IntFlag):
    """What the shell should do (cobra's ShellCompDirective, github.com/spf13/cobra completions.go)."""

    DEFAULT = 0
    """Complete file names if there are no candidates."""
    NO_SPACE = 2
    NO_FILES = 4
    FOLDERS = 16
    """Complete names of folders only."""


def candidates(words: Sequence[str], incomplete: str) -> tuple[list[tuple[str, str]], Directive]:
    """Candidates for INCOMPLETE after WORDS with their descriptions, and what the shell should do."""
    found = ShellComplete(cli, {}, "kubectl imagecache", "_").get_completions(with_scenario(list(words)), incomplete)
    kinds = {item.type for item in found}
    if "dir" in kinds:
        return [], Directive.FOLDERS
    if "file" in kinds:
        return [], Directive.DEFAULT
    lines = [(str(item.value), _description(item)) for item in found if str(item.value).isprintable()]
    directive = Directive.NO_FILES
    if len(lines) == 1 and lines[0][0].endswith("="):
        directive |= Directive.NO_SPACE
    return lines, directive


def complete(args: Sequence[str]) -> int:
    """Print the candidates for the last of ARGS; never an error, never a traceback."""
    try:
        lines, directive = candidates(args[:-1], args[-1] if args else "")
        text = "".join(f"{value}\t{help}\n" if help else f"{value}\n" for value, help in lines) + f":{directive:d}\n"
        sys.stdout.write(text)
        sys.stdout.flush()
    except Exception:
        if os.environ.get("KUBECTL_IMAGECACHE_DEBUG"):
            raise
        return 1
    return 0


def main() -> None:
    """The console script `kubectl_complete-imagecache`."""
    sys.exit(complete(sys.argv[1:]))


def _description(item: CompletionItem) -> str:
    return " ".join((item.help or "").split())
