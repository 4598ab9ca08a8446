"""The VM's report: JSON lines, numbered so that lost text is noticed, and few enough for a serial port."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

VERSION = 1
INTERVAL_S = 1.0
"""Least time between two progress lines: a serial port carries some 12 KB/s and slows the VM when it is full."""
_MARK = '{"imagecache":'
_MAX_LINE = 64 * 1024
_ACTIVE_SHOWN = 16


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the report."""

    name: str
    """`phase`, `image`, `progress`, `layer`, `retry`, `note`, `holds`, `done` or `failed`."""
    sequence: int
    """From 0 up by one; a gap means that lines were lost."""
    at_s: float
    """Seconds since the run began."""
    fields: Mapping[str, Any]
    """What the event says besides."""


def read(line: str) -> Event | None:
    """The event in a LINE of the serial port, whatever stands before it; None if there is none."""
    start = line.find(_MARK)
    if start < 0 or len(line) > _MAX_LINE:
        return None
    try:
        document, _ = json.JSONDecoder().raw_decode(line, start)
    except (ValueError, RecursionError):
        return None
    version, name, sequence, at_s = (document.pop(key, None) for key in ("imagecache", "event", "seq", "at"))
    if version != VERSION or not isinstance(name, str) or type(sequence) is not int or sequence < 0:
        return None
    if not isinstance(at_s, (int, float)):
        return None
    return Event(name, sequence, float(at_s), document)


class Reporter:
    """Writes the report to one stream."""

    def __init__(self, out: TextIO, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._monotonic = monotonic
        self._began = monotonic()
        self._sequence = 0
        self._last_progress = -INTERVAL_S
        self._lock = threading.Lock()

    def say(self, event: str, **fields: object) -> None:
        """Write one event at once."""
        with self._lock:  # images are resolved by several threads
            document = {
                "imagecache": VERSION,
                "seq": self._sequence,
                "at": round(self._monotonic() - self._began, 2),
                "event": event,
                **fields,
            }
            self._sequence += 1
            # ASCII only: no byte of a file name or an answer can reach a terminal as an escape.
            self._out.write(json.dumps(document, separators=(",", ":"), ensure_ascii=True) + "\n")
            self._out.flush()

    def progress(self, done: int, total: int, active: Mapping[str, tuple[int, int]]) -> None:
        """Compressed bytes DONE of TOTAL, and of each ACTIVE layer; dropped if the last one was just now."""
        now = self._monotonic() - self._began
        if now - self._last_progress < INTERVAL_S:
            return
        self._last_progress = now
        shown = {chain_id: list(pair) for chain_id, pair in list(active.items())[:_ACTIVE_SHOWN]}
        self.say("progress", bytes=done, of=total, layers=shown)
