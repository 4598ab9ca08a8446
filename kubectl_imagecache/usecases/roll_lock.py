"""The lock by which two rolls of one pool keep apart: a Lease that names its holder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from kubectl_imagecache.clients.kube.roll import Hold, RollKube
from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.errors import Busy, NotFound, Unavailable, UserError

LASTS_S = 120.0
"""A holder that has not renewed for so long is gone."""
RENEW_S = 30.0
LOOK_ON_S = 2 * RENEW_S
"""So long a holder that seems to be gone is looked at: its clock, or ours, may be wrong."""
_LOOK_S = 5.0
_TRIES = 8
OFF_S = 300.0
"""So wrong a clock may be: time-outs of pods, windows and the lock compare it with the cluster's."""


class Locked(UserError):
    """Somebody else rolls this pool."""

    exit_code = 6


def check_clock(kube: RollKube, clock: Clock) -> None:
    """Raise UserError if CLOCK is far from the cluster's as its last answer, of just now, told it."""
    told = kube.told_time()
    off_s = (clock.now() - told).total_seconds() if told is not None and told.tzinfo else 0.0
    if abs(off_s) > OFF_S:
        way = "ahead of" if off_s > 0 else "behind"
        raise UserError(f"this machine's clock is {abs(off_s):.0f} s {way} the cluster's", "set it, and run again")


class Lock:
    """The Lease of one pool's roll, held by WHO."""

    def __init__(
        self,
        kube: RollKube,
        clock: Clock,
        pool: str,
        who: str,
        gone: Callable[[str], bool] = lambda who: False,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """GONE tells of a holder whether it is known to have ended (a process of this machine that is no more).

        TELL takes a line for the user when it takes a while.
        """
        self._kube, self._clock, self._pool, self._who = kube, clock, pool, who
        self._gone, self._tell = gone, tell
        self._hold: Hold | None = None

    def take(self) -> None:
        """Get the lock; raises Locked with the holder's name, and what the client raises."""
        trouble: UserError | None = None
        for _ in range(_TRIES):
            try:
                found = self._kube.holder(self._pool)
                if found.who not in ("", self._who) and not self._gone(found.who):
                    self._look_on(found)
                self._write(replace(found, who=self._who, since=self._clock.now()))
                return
            except (Busy, Unavailable) as error:
                trouble = error
                self._clock.sleep(1.0)
        raise trouble or UserError(f"the lock of {self._pool} can't be had")

    def renew(self) -> None:
        """Say that we are still here, every RENEW_S at most.

        Raises Locked if the lock is somebody else's by now, and Busy or Unavailable once it may have become so.
        """
        hold, now = self._hold, self._clock.now()
        if hold is None or hold.renewed is None or now - hold.renewed < timedelta(seconds=RENEW_S):
            return
        try:
            try:
                self._write(hold)
            except (Busy, Unavailable, NotFound):
                # An answer that was lost may have been a success, so the version alone tells nothing.
                self._write(self._mine(hold))
        except (Busy, Unavailable):
            if now - hold.renewed > timedelta(seconds=LASTS_S - RENEW_S):
                raise

    def give(self) -> None:
        """Let go; what fails is no harm, for the Lease runs out."""
        hold, self._hold = self._hold, None
        if hold is None:
            return
        try:
            self._kube.hold(self._pool, replace(hold, who=""), LASTS_S)
        except UserError:
            return

    def _look_on(self, found: Hold) -> None:
        """Return once FOUND's holder is gone for good; raises Locked if it isn't."""
        if not _overdue(found, self._clock.now()):
            raise self._locked(found)
        self._tell(f"{found.who} held the lock of {self._pool} and seems to be gone: {LOOK_ON_S:g} s to be sure")
        for _ in range(int(LOOK_ON_S / _LOOK_S)):
            self._clock.sleep(_LOOK_S)
            now = self._kube.holder(self._pool)
            if now.who in ("", self._who):
                return
            if now.version != found.version:
                raise self._locked(now)

    def _mine(self, hold: Hold) -> Hold:
        """The Lease as it is now, if nobody else has taken it."""
        found = self._kube.holder(self._pool)
        if found.who not in ("", self._who):
            raise self._locked(found)
        return replace(found, who=self._who, since=hold.since)

    def _write(self, hold: Hold) -> None:
        self._hold = self._kube.hold(self._pool, replace(hold, renewed=self._clock.now()), LASTS_S)

    def _locked(self, found: Hold) -> Locked:
        since = found.since.isoformat(timespec="seconds") if found.since else "an unknown time"
        return Locked(
            f"{found.who} rolls {self._pool} since {since}",
            f"if that run has ended, the lock does {LASTS_S:g} s after its last sign of life: try again then",
        )


def _overdue(hold: Hold, now: datetime) -> bool:
    """Whether HOLD was not renewed in time by our clock, or is so far ahead that one clock must be wrong."""
    return hold.renewed is None or abs((now - hold.renewed).total_seconds()) > LASTS_S
