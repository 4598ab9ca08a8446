"""The lock by which two rolls of one pool keep apart: a Lease that names its holder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from kubectl_imagecache.clients.kube.roll import Hold, RollKube, is_over
from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.errors import Busy, Unavailable, UserError

LASTS_S = 120.0
"""A holder that has not renewed for so long is gone."""
RENEW_S = 30.0
_TRIES = 8


class Locked(UserError):
    """Somebody else rolls this pool."""

    exit_code = 6


class Lock:
    """The Lease of one pool's roll, held by WHO."""

    def __init__(
        self, kube: RollKube, clock: Clock, pool: str, who: str, gone: Callable[[str], bool] = lambda who: False
    ) -> None:
        """GONE tells of a holder whether it is known to have ended (a process of this machine that is no more)."""
        self._kube, self._clock, self._pool, self._who, self._gone = kube, clock, pool, who, gone
        self._hold: Hold | None = None

    def take(self) -> None:
        """Get the lock; raises Locked with the holder's name, and what the client raises."""
        trouble: UserError | None = None
        for _ in range(_TRIES):
            try:
                found = self._kube.holder(self._pool)
                mine = found.who == self._who
                if not mine and not is_over(found, self._clock.now(), LASTS_S) and not self._gone(found.who):
                    raise self._locked(found)
                self._write(replace(found, who=self._who, since=self._clock.now()))
                return
            except (Busy, Unavailable) as error:
                trouble = error
                self._clock.sleep(1.0)
        raise trouble or UserError(f"the lock of {self._pool} can't be had")

    def renew(self) -> None:
        """Say that we are still here, every RENEW_S at most; raises Locked if the lock is somebody else's by now."""
        hold = self._hold
        if hold is None or (hold.renewed and self._clock.now() - hold.renewed < timedelta(seconds=RENEW_S)):
            return
        try:
            self._write(hold)
        except (Busy, Unavailable):
            # An answer that was lost may have been a success, so the version alone tells nothing.
            self._reread()

    def give(self) -> None:
        """Let go; what fails is no harm, for the Lease runs out."""
        hold, self._hold = self._hold, None
        if hold is None:
            return
        try:
            self._kube.hold(self._pool, replace(hold, who=""), LASTS_S)
        except UserError:
            return

    def _reread(self) -> None:
        try:
            found = self._kube.holder(self._pool)
        except Unavailable:
            return
        if found.who != self._who:
            raise self._locked(found)
        self._hold = found

    def _write(self, hold: Hold) -> None:
        self._hold = self._kube.hold(self._pool, replace(hold, renewed=self._clock.now()), LASTS_S)

    def _locked(self, found: Hold) -> Locked:
        since = found.since.isoformat(timespec="seconds") if found.since else "an unknown time"
        return Locked(
            f"{found.who or 'somebody'} rolls {self._pool} since {since}",
            f"if that run has ended, the lock does {LASTS_S:g} s after its last sign of life: try again then",
        )
