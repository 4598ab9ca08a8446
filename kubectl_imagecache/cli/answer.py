"""What status, list and diff have in common: read, decide, print, and the exit code."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from kubectl_imagecache.cli import config
from kubectl_imagecache.cli.connect import connected
from kubectl_imagecache.cli.main import program_name
from kubectl_imagecache.cli.options import Flags
from kubectl_imagecache.core.report import Policy, State, StatusReport
from kubectl_imagecache.core.views import Gap
from kubectl_imagecache.render.output import write
from kubectl_imagecache.render.screen import Screen
from kubectl_imagecache.render.text import neutral
from kubectl_imagecache.render.view import View
from kubectl_imagecache.usecases.status import Options, status

_EXIT_CODES = {State.NONE: 0, State.FRESH: 0, State.STALE: 3, State.UNKNOWN: 4, State.BROKEN: 4}


def answer(flags: Flags, pools: tuple[str, ...], make_view: Callable[[StatusReport], View]) -> int:
    """Print what MAKE_VIEW makes of the status of POOLS, warnings on stderr; return the exit code.

    Raises UserError for what can't be read or isn't there.
    """
    path = flags.config or config.find(Path.cwd())
    settings = config.load(path) if path else config.Settings()
    progress = Progress(sys.stderr)
    with connected(flags, settings, os.environ) as connection:
        options = Options(pools, flags.layers, policy(flags, settings))
        try:
            report = status(connection.sources, options, progress.say)
            if flags.save_folder:
                progress.say(f"writing {flags.save_folder}")
                connection.save(flags.save_folder)
        finally:
            progress.clear()
    text = write(make_view(report), flags.output, screen(flags, os.environ, sys.stdout))
    for gap in report.gaps:
        sys.stderr.write(warning(gap))
    sys.stdout.write(text)
    sys.stdout.flush()
    worst = max((_EXIT_CODES[pool.verdict.state] for pool in report.pools), default=0)
    return worst if flags.exit_code else 0


def policy(flags: Flags, settings: config.Settings) -> Policy:
    """Flags before the file before the defaults; patterns to ignore add up."""
    default = Policy()
    return Policy(
        _first(flags.min_coverage, settings.min_coverage, default.min_coverage),
        int(_first(flags.min_size, settings.min_size, default.min_size)),
        (*(settings.ignore or ()), *flags.ignore),
        _first(flags.rate, settings.rate, default.rate),
    )


def screen(flags: Flags, env: Mapping[str, str], out: TextIO) -> Screen:
    """The reader's side: a terminal's width (or COLUMNS), colour, and what was asked for."""
    return terminal(flags.output, env, out, headers=not flags.no_headers, color=flags.color)


def terminal(output: str, env: Mapping[str, str], out: TextIO, *, headers: bool = True, color: str = "auto") -> Screen:
    """As `screen`, for a command with few of the shared flags."""
    is_one = out.isatty()
    given = env.get("COLUMNS", "")
    cells = int(given) if given.isdecimal() and int(given) else shutil.get_terminal_size().columns if is_one else None
    plain = not is_one or bool(env.get("NO_COLOR")) or env.get("TERM") == "dumb"
    colour = color == "always" or (color == "auto" and not plain)
    return Screen(cells, colour, headers, output == "wide", program_name(env))


class Progress:
    """One line on a terminal that says what is being done, and goes away."""

    def __init__(self, out: TextIO) -> None:
        self._out = out if out.isatty() else None

    def say(self, text: str) -> None:
        """Show TEXT."""
        if self._out:
            self._out.write(f"\r\x1b[K{neutral(text)} …")
            self._out.flush()

    def tell(self, text: str) -> None:
        """Show TEXT on a line of its own, which stays."""
        if self._out:
            self._out.write(f"\r\x1b[K{neutral(text)}\n")
            self._out.flush()

    def clear(self) -> None:
        """Leave an empty line."""
        if self._out:
            self._out.write("\r\x1b[K")
            self._out.flush()


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def warning(gap: Gap) -> str:
    """GAP as a line for stderr."""
    hint = f" ({gap.hint})" if gap.hint else ""
    return f"warning: {neutral(gap.what)} not read: {neutral(gap.why)}{neutral(hint)}\n"
