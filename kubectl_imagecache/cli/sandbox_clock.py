"""The clock of long work: the machine's, or a sandbox's, which moves on when somebody sleeps."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kubectl_imagecache.core.clock import LiveClock, SystemClock
from kubectl_imagecache.core.errors import BadUsage, Unavailable

if TYPE_CHECKING:
    from http.client import HTTPConnection

CONTROL = "KUBECTL_IMAGECACHE_SANDBOX_CONTROL"
"""Environment variable: the address of a sandbox's Kubernetes port, under which /_sandbox/ steers its time."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class SandboxClock:
    """A sandbox's virtual time, over one connection to its control API."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._version = 0
        self._connection: HTTPConnection | None = None
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The sandbox's present; Unavailable if it is gone."""
        return datetime.fromisoformat(str(self._ask("now", None)["now"]))

    def sleep(self, seconds: float) -> None:
        """Let SECONDS of virtual time pass; Unavailable if the sandbox is gone.

        At once, and all of them; but fewer, in as much real time, while something there goes on in it.
        """
        SystemClock().sleep(float(self._ask("advance", {"seconds": seconds, "patient": True}).get("real", 0)))

    def wait(self, seconds: float, changed: threading.Event) -> bool:
        """Let SECONDS of virtual time pass, less if something happens in the cluster; whether it did."""
        before = self._version
        if not changed.is_set():
            self._ask("advance", {"seconds": seconds, "untilChange": True})
        return changed.is_set() or self._version != before

    def reached(self) -> int:
        """The cluster's resourceVersion when it was last asked for anything."""
        return self._version

    def _ask(self, what: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        from http.client import HTTPConnection, HTTPException

        method, content = ("GET", None) if body is None else ("POST", json.dumps(body).encode())
        with self._lock:
            connection = self._connection or HTTPConnection(urlsplit(self._url).netloc, timeout=600)
            try:
                connection.request(method, f"/_sandbox/{what}", content)
                found: dict[str, Any] = json.loads(connection.getresponse().read())
            except (OSError, ValueError, HTTPException) as error:
                connection.close()
                raise Unavailable(f"the sandbox at {self._url} does not answer", "is it still running?") from error
            self._connection, self._version = connection, int(found.get("version", 0))
            return found


def work_clock(env: Mapping[str, str]) -> LiveClock:
    """The clock that ENV asks for; raises BadUsage for a control address that is not on this machine."""
    url = env.get(CONTROL, "").rstrip("/")
    if not url:
        return SystemClock()
    if not url.startswith("http://") or urlsplit(url).hostname not in _LOOPBACK:
        raise BadUsage(f"{CONTROL} is not on this machine: {url}", "unset it")
    return SandboxClock(url)
