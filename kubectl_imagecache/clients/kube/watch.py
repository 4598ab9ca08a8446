"""Events followed live: a list, then a watch from its version on, begun again whenever the server ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from kubectl_imagecache.clients.kube.client import Kube
from kubectl_imagecache.clients.kube.lists import decoder_of
from kubectl_imagecache.clients.kube.pull_feed import Add, as_records, event_records, events_query, path_of, read_events
from kubectl_imagecache.clients.kube.pull_wire import AnyEvent
from kubectl_imagecache.clients.kube.transport import Expired
from kubectl_imagecache.clients.kube.wire import Wire
from kubectl_imagecache.core.errors import Unavailable
from kubectl_imagecache.core.views import Gap

WATCH_S = 290
"""How long one watch is asked for: load balancers between cut longer ones off after 5 to 10 minutes."""
IDLE_S = 150.0
"""Silence after which a connection counts as dead; the server sends a bookmark every minute or so."""
GIVE_UP_S = 600.0
"""How long a server may be out of reach before the following ends."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0


class Change(Wire):
    """One line of a watch."""

    type: str | None = None
    object: msgspec.Raw = msgspec.Raw()


class Failure(Wire):
    """The Status that an ERROR line carries."""

    code: int | None = None
    message: str | None = None


@dataclass(slots=True)
class Following:
    """One namespace's events (or all), followed."""

    kube: Kube
    namespace: str
    """Empty is all."""
    add: Add
    """Takes each record; the same event may come again, by its uid."""
    tell: Callable[[Gap], None]
    """Takes what can't be read, as it turns up."""
    root: str = ""
    version: str = ""
    """Where the next watch begins; empty: list first."""
    failed_s: float = 0.0
    """How long the server has been out of reach, in waits."""
    unreadable: int = 0

    def run(self, until: Callable[[], float | None]) -> None:
        """Follow until UNTIL says that no seconds are left (None: for ever).

        Raises Unavailable once the server was out of reach for GIVE_UP_S, and what read_events raises.
        """
        wait = _FIRST_WAIT_S
        while (left := until()) is None or left > 0:
            try:
                if not self.version:
                    self._list()
                self._watch(WATCH_S if left is None else min(WATCH_S, max(1, round(left))), until)
                wait, self.failed_s = _FIRST_WAIT_S, 0.0
            except Expired:
                self.version = ""
            except Unavailable:
                if self.failed_s >= GIVE_UP_S:
                    raise
                pause = wait * (0.5 + 0.5 * self.kube.transport.random())
                self.failed_s += pause
                wait = min(2 * wait, _LONGEST_WAIT_S)
                self.kube.transport.clock.sleep(pause)

    def _list(self) -> None:
        self.root, self.version, gaps = read_events(self.kube, self.namespace, as_records(self.add))
        for gap in gaps:
            self.tell(gap)
        if not self.version:
            raise Unavailable("the list of events has no resourceVersion to watch from", "is this a Kubernetes API?")

    def _watch(self, seconds: int, until: Callable[[], float | None]) -> None:
        query = {
            **events_query(),
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self.version,
            "timeoutSeconds": str(seconds),
        }
        path = path_of(self.root, self.namespace, "events")
        for line in self.kube.transport.lines(path, query, "events", min(IDLE_S, seconds + 10.0)):
            self._line(line)
            self.failed_s = 0.0
            left = until()
            if left is not None and left <= 0:
                return

    def _line(self, line: bytes) -> None:
        """Take one change; raise Expired if the version is too old, Unavailable for any other ERROR."""
        try:
            change: Change = decoder_of(Change).decode(line)
            if change.type == "ERROR":
                failure: Failure = decoder_of(Failure).decode(change.object)
                if failure.code in (410, 504):  # 504: "Too large resource version", after a restore of etcd.
                    raise Expired
                raise Unavailable(f"the watch of events failed: {(failure.message or '')[:200]}", "try again later")
            event: AnyEvent = decoder_of(AnyEvent).decode(change.object)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if not self.unreadable:
                self.tell(Gap("some events", f"not in the shape of their kind: {str(error)[:200]}"))
            self.unreadable += 1
            return
        if event.metadata and event.metadata.resource_version:
            self.version = event.metadata.resource_version
        if change.type in ("ADDED", "MODIFIED"):  # DELETED is the event's end of life, nothing new.
            for record in event_records((event,)):
                self.add(record)
