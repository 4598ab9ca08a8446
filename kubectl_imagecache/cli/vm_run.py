"""What the commands that work with a temporary VM share: looking beforehand, asking first, and the VM's log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from kubectl_imagecache.clients.compute_build import BuildCompute
from kubectl_imagecache.clients.compute_preflight import Surroundings
from kubectl_imagecache.clients.google_http import GoogleHttp
from kubectl_imagecache.clients.project_rules import ProjectRules
from kubectl_imagecache.core.errors import BadUsage, NotPermitted, UserError
from kubectl_imagecache.core.vm_wish import VmWish
from kubectl_imagecache.render.text import neutral
from kubectl_imagecache.usecases.preflight import Look, preflight
from kubectl_imagecache.usecases.preflight_rules import rules_of


class Interrupted(UserError):
    """Ctrl-C."""

    exit_code = 130


def must_ask(yes: bool, sandbox: str) -> bool:
    """Whether the user is to be asked first: not with YES, nor on a SANDBOX of this process alone.

    Raises BadUsage where nobody is there to be asked.
    """
    if yes or sandbox:
        return False
    if not sys.stdin.isatty():
        raise BadUsage("nobody is there to be asked", "add --yes")
    return True


def look_first(google: GoogleHttp, wish: VmWish, more: Sequence[Look], impossible: str = "") -> list[str]:
    """Warnings of what may matter to the VM of WISH, and with IMPOSSIBLE as their first words, of what would stop it.

    Else, each of those but the first is written as an error, and that one raised. Nothing is looked for if the VM is
    there already: it is gone on with, and what it takes of a quota isn't free any more.
    """
    if _is_there(google, wish):
        return []
    around, rules = Surroundings(google, wish.vm.project), ProjectRules(google, wish.vm.project)
    findings = preflight(around, wish, [*rules_of(rules, wish, around.default_account), *more])
    if not findings.problems:
        return list(findings.warnings)
    if impossible:
        return [*(f"{impossible}: {p.message}" for p in findings.problems), *findings.warnings]
    for problem in findings.problems[1:]:
        sys.stderr.write(f"error: {neutral(problem.message)}\n")
        sys.stderr.write(f"hint: {neutral(problem.hint)}\n" if problem.hint else "")
    raise findings.problems[0]


def _is_there(google: GoogleHttp, wish: VmWish) -> bool:
    try:
        return BuildCompute(google, wish.vm.project).vm(wish.vm.zone, wish.name) is not None
    except NotPermitted:
        return False  # The look at the permissions names all that are missing, and not just this one.


@contextmanager
def logged(
    env: Mapping[str, str], name: str, at_end: Callable[[Path], None] = lambda path: None
) -> Iterator[Callable[[str], None]]:
    """Takes what the VM called NAME writes, into a file that is gone if all goes well, and named by the error if not.

    AT_END is given the file, before either; after Ctrl-C it stays, for whoever goes on.
    """
    path = _log_file(env, name)
    try:
        with path.open("a", encoding="utf-8", errors="replace") as out:
            yield lambda text: print(harmless(text), end="", file=out)
    except UserError as error:
        at_end(path)
        error.hint = "; ".join(part for part in (error.hint, f"the VM's log is {path}") if part)
        raise
    at_end(path)
    path.unlink(missing_ok=True)


def harmless(text: str) -> str:
    """What a VM has written, for a log that somebody will show on a terminal: nothing but text and line ends."""
    return "\n".join(neutral(line) for line in text.replace("\r\n", "\n").split("\n"))


def _log_file(env: Mapping[str, str], name: str) -> Path:
    state = Path(env.get("XDG_STATE_HOME") or Path(env.get("HOME") or ".") / ".local" / "state")
    folder = state / "kubectl-imagecache"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} can't be made: {error.strerror}", "set XDG_STATE_HOME") from error
    return folder / f"{name}.log"
