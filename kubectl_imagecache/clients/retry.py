"""The one policy by which calls that may be repeated are repeated."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TypeVar

from kubectl_imagecache.core.errors import UserError

T = TypeVar("T")

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
"""Answers that a server may not give the next time."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How often, and how long, a call is repeated."""

    attempts: int = 5
    first_wait_s: float = 0.25
    """The second wait is at most twice as long, and so on."""
    longest_wait_s: float = 8.0
    total_s: float = 30.0
    """No wait is begun that would end later than this after the first attempt."""


DEFAULT = Policy()
ONCE = Policy(attempts=1)
"""For calls that must not be repeated."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The time and the randomness that waits are made of."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[float, float], float] = random.uniform


REAL = Pace()
"""The machine's."""


class TryAgain(Exception):
    """Raised by an attempt that failed in a way that may pass."""

    def __init__(self, error: UserError, retry_after_s: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        """What to raise if there is no further attempt."""
        self.retry_after_s = retry_after_s
        """The server's wish (Retry-After); None if it has none."""


def repeat(attempt: Callable[[], T], policy: Policy = DEFAULT, pace: Pace = REAL) -> T:
    """Call ATTEMPT until it returns; raise the last TryAgain's error once attempts or time are used up.

    Waits grow exponentially with full jitter, so that many clients don't come back in step; a Retry-After is
    honoured as the least wait.
    """
    began = pace.monotonic()
    for number in range(policy.attempts):
        try:
            return attempt()
        except TryAgain as again:
            wait = pace.uniform(0, min(policy.longest_wait_s, policy.first_wait_s * 2**number))
            if again.retry_after_s is not None:
                wait += again.retry_after_s
            if number + 1 == policy.attempts or pace.monotonic() - began + wait > policy.total_s:
                raise again.error from again
        pace.sleep(wait)
    raise AssertionError("a policy has at least one attempt")


def retry_after(header: str | None, now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)) -> float | None:
    """The seconds that a Retry-After header asks for: a number, or an HTTP date; None if absent or nonsense."""
    if not header:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        until = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=timezone.utc)
    return max(0.0, (until - now()).total_seconds())
