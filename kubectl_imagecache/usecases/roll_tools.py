"""What the parts of a roll share: its clients, what one run remembers, and how it waits and works side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from kubectl_imagecache.clients.gke_roll import RollGke
from kubectl_imagecache.clients.kube.probe import ProbeKube
from kubectl_imagecache.clients.kube.roll import RollKube
from kubectl_imagecache.core.clock import LiveClock
from kubectl_imagecache.core.errors import UserError
from kubectl_imagecache.core.roll import Blocked
from kubectl_imagecache.core.roll_event import RollEvent
from kubectl_imagecache.usecases.roll_lock import Lock

THREADS = 12
"""Calls of Kubernetes under way at one time."""
SLICE_S = 5.0
"""Longest sleep between two looks at Ctrl-C."""
GATHER_S = 0.2
"""Changes come in bursts: so long after the first one, at least, a new look is taken."""
GATHER_SHARE = 2.0
"""At least so many times as long as the last look took to think about: looking must not take all the time."""

T = TypeVar("T")
R = TypeVar("R")


class Stopped(UserError):
    """The roll can't go on by itself; a second run can."""

    exit_code = 5


class Interrupted(UserError):
    """The user asked to stop; everything is as the last whole step left it."""

    exit_code = 130


@dataclass(frozen=True, slots=True)
class Tools:
    """What a roll works with."""

    kube: RollKube
    gke: RollGke
    clock: LiveClock
    lock: Lock
    say: Callable[[RollEvent], None]
    interrupted: Callable[[], bool] = lambda: False
    probes: ProbeKube | None = None
    """For canaries; None: this kind of roll has none."""


@dataclass(slots=True)
class Run:
    """What one run remembers: none of it is needed to go on after a crash."""

    blocked: dict[str, Blocked] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    """Operations that ended in an error, by kind and pool."""
    pools: dict[str, dict[str, Any]] = field(default_factory=dict)
    """GKE's JSON of all pools, as last read."""
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Pool -> the nodes that its groups want, zone by zone, as last read."""
    read: datetime | None = None
    """When those were read; None: they must be read again."""
    told: set[str] = field(default_factory=set)
    """Families of pods of which was said that the roll has nothing to do with what they have."""
    waiting: datetime | None = None
    """Since when it has only waited for pools or nodes."""


def pause(tools: Tools, seconds: float) -> None:
    """Let SECONDS pass, less if the user interrupts; too few for the lock to run out."""
    while seconds > 0 and not tools.interrupted():
        tools.clock.sleep(min(seconds, SLICE_S))
        seconds -= SLICE_S


def rest(tools: Tools, seconds: float, thought_s: float = 0.0) -> None:
    """Let SECONDS pass, less if something changes that a roll looks at, or as `pause` does.

    THOUGHT_S is the CPU time that the last look took.
    """
    while seconds > 0 and not tools.interrupted():
        if tools.clock.wait(min(seconds, SLICE_S), tools.kube.changed):
            tools.clock.sleep(max(GATHER_S, GATHER_SHARE * thought_s))
            return
        seconds -= SLICE_S


def each(tools: Tools, call: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """CALL each of ITEMS, THREADS at a time, and keep the lock meanwhile; what they return, in order.

    After an error, or once the user interrupts, no further call begins (what wasn't called returns nothing); the
    first error is raised when those under way have ended.
    """

    def one(item: T) -> list[R]:
        return [] if tools.interrupted() else [call(item)]

    with ThreadPoolExecutor(THREADS, "roll") as threads:
        futures = [threads.submit(one, item) for item in items]
        try:
            found: list[R] = []
            for number, future in enumerate(futures):
                found += future.result()
                if number % THREADS == 0:
                    tools.lock.renew()
            return found
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
