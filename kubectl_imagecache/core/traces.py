"""What builds have made, and which of it is orphaned."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum


class Kind(Enum):
    """Kinds of resources that builds make."""

    VM = "vm"
    DISK = "disk"
    IMAGE = "disk-image"
    RECORD = "record"
    """What a disk image holds, in Cloud Storage."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One resource that carries a build's label."""

    kind: Kind
    name: str
    build: str
    state: str
    """Compute's status for people: `running`, `in use`, `READY`; a record's disk image."""
    lasting: bool
    """Whether it is what the build was for: a disk image that is READY, and its record."""
    zone: str = ""
    created: datetime | None = None

    def is_orphan(self, now: datetime, age: timedelta) -> bool:
        """Whether it is left over: not lasting, and older than AGE (of unknown age it counts as old)."""
        return not self.lasting and (self.created is None or now - self.created >= age)


def orphaned_builds(traces: list[Trace], now: datetime, age: timedelta) -> list[str]:
    """The builds of which every passing resource is older than AGE: a build with a younger one may be under way."""
    passing = [trace for trace in traces if not trace.lasting]
    young = {trace.build for trace in passing if not trace.is_orphan(now, age)}
    return sorted({trace.build for trace in passing} - young)
