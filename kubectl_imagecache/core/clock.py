"""Time as an argument, so that tests and the sandbox can pass their own."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timezone
from typing import Protocol


class Clock(Protocol):
    """Where a program's time comes from."""

    def now(self) -> datetime:
        """The present, aware, UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let SECONDS pass."""
        ...


class LiveClock(Clock, Protocol):
    """The clock of those who follow a cluster by watches."""

    def wait(self, seconds: float, changed: threading.Event) -> bool:
        """Let SECONDS pass, less once CHANGED is set; whether something may have changed."""
        ...

    def reached(self) -> int:
        """The resourceVersion that a watch must have come to before it shows the present; 0: that can't be known."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present, UTC."""
        return datetime.now(timezone.utc)

    def sleep(self, seconds: float) -> None:
        """Block for SECONDS."""
        time.sleep(seconds)

    def wait(self, seconds: float, changed: threading.Event) -> bool:
        """Block for SECONDS, less once CHANGED is set; whether it is."""
        return changed.wait(seconds)

    def reached(self) -> int:
        """0: the real world doesn't tell."""
        return 0
