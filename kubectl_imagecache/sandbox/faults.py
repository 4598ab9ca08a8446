"""Faults to order: what should go wrong, at which call, how often."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

KINDS = ("status", "reset", "slow", "truncate")


@dataclass(slots=True)
class Fault:
    """One ordered fault; matches a request by service, method and path."""

    kind: str = "status"
    """`status` answers with `status`; `reset` closes the connection without an answer; `slow` waits `seconds`
    (real) and then answers; `truncate` sends half of the body and closes."""
    status: int = 503
    service: str = ""
    """`kube`, `gke`, `compute`, `registry`; empty is any."""
    method: str = ""
    """Empty is any."""
    path: str = ""
    """A regular expression searched in path?query; empty is any."""
    times: int = 1
    """How many matching calls fail; -1 is all."""
    after: int = 0
    """How many matching calls go through first."""
    retry_after_s: int | None = None
    """Sent as Retry-After."""
    seconds: float = 0.0
    reason: str = ""
    """The error's reason word: `FAILED_PRECONDITION`, `Expired`, …; empty picks the usual one for the status."""
    message: str = ""
    """The error's text; empty picks one."""
    applied: bool = False
    """Perform the request first and lose the answer: the server did it, the client can't know."""
    seen: int = field(default=0, init=False)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Fault:
        """Build from JSON; raise ValueError on an unknown kind or field."""
        try:
            fault = cls(**data)
        except TypeError as error:
            raise ValueError(str(error)) from error
        if fault.kind not in KINDS:
            raise ValueError(f"kind {fault.kind!r} is not one of {', '.join(KINDS)}")
        return fault

    def strikes(self, service: str, method: str, target: str) -> bool:
        """Whether this call fails; counts it."""
        if self.service not in ("", service) or self.method not in ("", method) or not re.search(self.path, target):
            return False
        self.seen += 1
        return self.seen > self.after and (self.times < 0 or self.seen <= self.after + self.times)


@dataclass(slots=True)
class Faults:
    """The faults in force, first match wins."""

    rules: list[Fault] = field(default_factory=list)

    def strike(self, service: str, method: str, target: str) -> Fault | None:
        """The fault that this call suffers, if any."""
        return next((fault for fault in self.rules if fault.strikes(service, method, target)), None)
