"""Says how far a roll is: a view that changes in place on a terminal, lines with times into a pipe, or JSON."""

from __future__ import annotations

from datetime import datetime, timedelta
from shutil import get_terminal_size
from typing import TextIO

from kubectl_imagecache.core.roll import Evict, Mark, Wait
from kubectl_imagecache.core.roll_event import RollEvent

PASSING = (Wait, Mark, Evict)
"""Steps that are taken again and again: on a terminal they are shown while they last."""
QUIET = timedelta(seconds=10)
"""Where lines stay, waiting is told no more often."""


class Reporter:
    """Takes a roll's events and shows them in one of three ways."""

    def __init__(self, out: TextIO, as_json: bool) -> None:
        self._out, self._json = out, as_json
        self._live = out.isatty() and not as_json
        self._drawn = 0
        self._most = 0
        """Pods that there were to move at first."""
        self._last = ""
        self._waited: datetime | None = None
        self._seen: RollEvent | None = None
        """The last event that told how far the roll is."""

    def standing(self) -> tuple[tuple[str, str], ...]:
        """How far the roll was when it last said so, as UserError.more has it; empty if it never did."""
        from kubectl_imagecache.render.roll import standing

        return (("stands", standing(self._seen)),) if self._seen is not None else ()

    def say(self, event: RollEvent) -> None:
        """Show EVENT."""
        from kubectl_imagecache.render.roll import event_json, event_line, live_lines

        self._most = max(self._most, event.pods_left)
        self._seen = event if event.nodes else self._seen
        if not self._live:
            if self._due(event):
                self._out.write(event_json(event) if self._json else f"{event_line(event)}\n")
                self._out.flush()
            return
        self.clear()
        lines = live_lines(event, self._most, get_terminal_size().columns - 1)
        if isinstance(event.step, PASSING):
            self._out.write("\n".join(lines))
            self._drawn = len(lines)
        else:
            self._out.write(f"{event_line(event)}\n")
        self._out.flush()

    def clear(self) -> None:
        """Take the view away."""
        if self._drawn:
            self._out.write("\r" + "\x1b[A" * (self._drawn - 1) + "\x1b[J")
            self._out.flush()
            self._drawn = 0

    def _due(self, event: RollEvent) -> bool:
        """Whether EVENT is told where lines stay: not if it only repeats the last one, or goes on waiting."""
        from kubectl_imagecache.render.roll import event_line

        line = event_line(event)[8:]
        waits = isinstance(event.step, Wait)
        if line == self._last or (waits and self._waited is not None and event.at - self._waited < QUIET):
            return False
        self._last, self._waited = line, event.at if waits else self._waited
        return True
