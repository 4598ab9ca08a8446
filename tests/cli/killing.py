"""The real program, killed with SIGKILL at one of its requests."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kubectl_imagecache.sandbox.embedded import Sandbox
from kubectl_imagecache.sandbox.faults import Fault, Faults


@dataclass
class KillAt(Faults):
    """Kills a process at its Nth request that counts: once that is performed, or before."""

    number: int = 0
    performed: bool = True
    pid: int = 0
    seen: int = 0

    def counts(self, service: str, method: str, target: str) -> bool:
        """Whether this request is one of those that are counted."""
        return True

    def strike(self, service: str, method: str, target: str) -> Fault | None:
        if not self.pid or not self.counts(service, method, target):
            return None
        self.seen += 1
        if self.seen != self.number:
            return None
        os.kill(self.pid, signal.SIGKILL)
        return Fault(kind="reset", applied=self.performed)


def struck(sandbox: Sandbox, killer: KillAt, start: Callable[[], subprocess.Popen[Any]]) -> int:
    """The exit code of the process that START makes, for KILLER to strike at."""
    with sandbox.world.lock:
        sandbox.world.faults, process = killer, start()
        killer.pid = process.pid
    process.communicate(timeout=300)
    killer.pid = 0
    return int(process.returncode)
