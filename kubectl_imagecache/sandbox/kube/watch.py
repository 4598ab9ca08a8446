"""Watches: a stream of changes from a version on, until the client leaves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kubectl_imagecache.sandbox.http import World
from kubectl_imagecache.sandbox.kube.kinds import Kind
from kubectl_imagecache.sandbox.kube.status import ApiError
from kubectl_imagecache.sandbox.kube.store import Entry, Store

_BOOKMARK_EVERY_S = 60.0
_POLL_S = 0.25
"""With running time nobody tells when something falls due: look this often (real seconds)."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What one watch wants to see."""

    kind: Kind
    wanted: Callable[[Entry], bool]
    show: Callable[[Entry], bytes]
    """The JSON of an event's object."""
    initial: tuple[Entry, ...]
    """Told as ADDED at first."""
    since: int
    """Then the changes after this version."""
    bookmarks: bool = False
    initial_bookmark: bool = False
    """Say when the initial objects are through (sendInitialEvents)."""
    timeout_s: float | None = None
    """Real seconds; None is about half an hour, as the real server."""


def stream(world: World, store: Store, watch: Watch) -> Iterator[bytes]:
    """The lines of a watch."""
    for entry in watch.initial:
        yield _line("ADDED", watch.show(entry))
    if watch.initial_bookmark:
        yield _bookmark(watch.kind, watch.since, {"k8s.io/initial-events-end": "true"})
    version = watch.since
    end = time.monotonic() + (watch.timeout_s if watch.timeout_s is not None else 1800.0)
    bookmark_at = time.monotonic() + _BOOKMARK_EVERY_S
    while not world.closing:
        before = version
        try:
            lines, version = _wait(world, store, watch, version, end)
        except ApiError as error:
            yield _line("ERROR", json.dumps(error.status).encode())
            return
        yield from lines
        now = time.monotonic()
        # Whoever moves virtual time wants to know when a watch has told all: sooner than a real server says so.
        if watch.bookmarks and (now >= bookmark_at or now >= end or version != before):
            bookmark_at = now + _BOOKMARK_EVERY_S
            yield _bookmark(watch.kind, version)
        if now >= end:
            return


def _wait(world: World, store: Store, watch: Watch, version: int, end: float) -> tuple[list[bytes], int]:
    """The lines after VERSION, once there are some, or none but for others, or it is time; how far they go."""
    with world.changed:
        until = min(end, time.monotonic() + 5.0)
        while True:
            world.clock.catch_up()
            changes = store.changes_since(version)
            lines = [
                line
                for change in changes
                if change.table == watch.kind.table
                for line in _event(watch, change.old, change.new)
            ]
            moved = bool(changes) and watch.bookmarks
            version = changes[-1].version if changes else version
            left = until - time.monotonic()
            if lines or left <= 0 or moved or world.closing:
                return lines, version
            world.changed.wait(min(_POLL_S, left))


def _event(watch: Watch, old: Entry | None, new: Entry | None) -> Iterator[bytes]:
    was = old is not None and watch.wanted(old)
    if new is not None and watch.wanted(new):
        yield _line("MODIFIED" if was else "ADDED", watch.show(new))
    elif was and old is not None:
        yield _line("DELETED", watch.show(old if new is None else old.at(new.version)))


def _line(kind: str, body: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), body)


def _bookmark(kind: Kind, version: int, annotations: dict[str, str] | None = None) -> bytes:
    metadata: dict[str, object] = {"resourceVersion": str(version), "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    body = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
    return _line("BOOKMARK", json.dumps(body).encode())
