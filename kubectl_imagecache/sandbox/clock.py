"""Virtual time: what is due happens, in order, when time passes."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

EPOCH = datetime(2026, 1, 15, 9, 0, 0, tzinfo=timezone.utc)
"""Where a sandbox's time begins unless told otherwise: fixed, so that outputs repeat."""


class VirtualClock:
    """Time that moves by `advance`, and with real time times `speed`. Not locked: callers hold the world's lock."""

    def __init__(self, start: datetime = EPOCH, speed: float = 0.0) -> None:
        self._now = start
        self._speed = speed
        self._real = time.monotonic()
        self._due: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.real = 0
        """How many things go on in real time: until they end, time is no faster than theirs."""

    def now(self) -> datetime:
        """The virtual present, UTC."""
        return self._now

    @property
    def speed(self) -> float:
        """Virtual seconds that pass in one real second; 0 if time moves by `advance` alone."""
        return self._speed

    def call_later(self, seconds: float, action: Callable[[], None]) -> None:
        """Run ACTION once SECONDS (virtual) have passed."""
        heapq.heappush(self._due, (self._now + timedelta(seconds=seconds), next(self._order), action))

    def advance(self, seconds: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Let SECONDS pass, running what falls due at its own time; less if ENOUGH, asked after each."""
        until = self._now + timedelta(seconds=seconds)
        while self._due and self._due[0][0] <= until:
            at, _, action = heapq.heappop(self._due)
            self._now = max(self._now, at)
            action()
            if enough():
                return
        self._now = until

    def catch_up(self) -> None:
        """Advance by the real time since the last call, times the speed."""
        real = time.monotonic()
        elapsed, self._real = real - self._real, real
        speed = min(self._speed, 1.0) if self.real else self._speed
        if speed:
            self.advance(elapsed * speed)

    def next_due(self) -> float | None:
        """Seconds until the next thing falls due; None if nothing will."""
        return (self._due[0][0] - self._now).total_seconds() if self._due else None
