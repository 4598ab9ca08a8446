"""Waits for what takes its time in the cloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from kubectl_imagecache.clients.compute_build import BuildCompute, Operation
from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.errors import Unavailable, UserError

T = TypeVar("T")
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 5.0
"""Between two looks; each wait is half as long again as the one before."""
LOOKS = 10
"""Looks in a row that may fail before what runs in the cloud is left to itself."""
Tell = Callable[[str, Mapping[str, Any]], None]
"""Takes the name and the fields of something that happened."""
_HINTS = {
    "ZONE_RESOURCE_POOL_EXHAUSTED": "take another zone with --zone, or another --machine-type",
    "QUOTA_EXCEEDED": "ask for more quota, or take another zone or a smaller machine",
}


class OperationFailed(UserError):
    """Compute began something and could not end it well."""


@dataclass(slots=True)
class Patience:
    """Waits, each longer than the one before until something happens."""

    clock: Clock
    first_wait_s: float = FIRST_WAIT_S
    _wait_s: float = 0.0

    def wait(self) -> None:
        """Let some time pass."""
        self._wait_s = min(max(self._wait_s * 1.5, self.first_wait_s), max(LONGEST_WAIT_S, self.first_wait_s))
        self.clock.sleep(self._wait_s)

    def reset(self) -> None:
        """Begin with short waits again: something has happened."""
        self._wait_s = 0.0

    def until(self, look: Callable[[], T | None], tell: Tell) -> T:
        """What LOOK gives, called again as long as that is None; the cloud may be away for LOOKS - 1 looks in a row.

        Raises Unavailable beyond that, and what LOOK raises.
        """
        failures = 0
        while True:
            try:
                found = look()
                failures = 0
            except Unavailable as error:
                failures += 1
                if failures >= LOOKS:
                    raise
                found = None
                tell("retry", {"why": error.message})
                self.wait()
            if found is not None:
                return found

    def finish(self, compute: BuildCompute, operation: Operation | None, what: str, hint: str) -> None:
        """Wait for OPERATION; raises OperationFailed with WHAT it was for and Compute's words if it ends badly.

        HINT is for where nothing better is known. None, and a thing that is there already, are no failure.
        """
        while operation is not None and not operation.done:
            self.wait()
            operation = compute.operation(operation)
        if operation is not None and operation.code and operation.code != "RESOURCE_ALREADY_EXISTS":
            raise OperationFailed(f"{what}: {operation.message or operation.code}", _HINTS.get(operation.code, hint))
