"""The clock of long work: the machine's, or a sandbox's, which moves on when somebody sleeps."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubectl_imagecache.clients.http import is_loopback
from kubectl_imagecache.core.clock import Clock, SystemClock
from kubectl_imagecache.core.errors import BadUsage, Unavailable

CONTROL = "KUBECTL_IMAGECACHE_SANDBOX_CONTROL"
"""Environment variable: the address of a sandbox's Kubernetes port, under which /_sandbox/ steers its time."""


@dataclass(frozen=True, slots=True)
class SandboxClock:
    """A sandbox's virtual time, over its control API."""

    url: str

    def now(self) -> datetime:
        """The sandbox's present; Unavailable if it is gone."""
        return datetime.fromisoformat(str(self._ask("now", None)["now"]))

    def sleep(self, seconds: float) -> None:
        """Let SECONDS of virtual time pass, at once; Unavailable if the sandbox is gone."""
        self._ask("advance", {"seconds": seconds})

    def _ask(self, what: str, body: Mapping[str, float] | None) -> dict[str, Any]:
        content = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.url}/_sandbox/{what}", content)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (OSError, ValueError) as error:
            raise Unavailable(f"the sandbox at {self.url} does not answer", "is it still running?") from error


def work_clock(env: Mapping[str, str]) -> Clock:
    """The clock that ENV asks for; raises BadUsage for a control address that is not on this machine."""
    url = env.get(CONTROL, "").rstrip("/")
    if not url:
        return SystemClock()
    if not is_loopback(url) or not url.startswith("http://"):
        raise BadUsage(f"{CONTROL} is not on this machine: {url}", "unset it")
    return SandboxClock(url)
