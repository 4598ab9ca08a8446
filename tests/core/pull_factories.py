from __future__ import annotations

import itertools
from collections.abc import Iterable

from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.pull_ledger import Ledger
from kubectl_imagecache.core.pull_records import EventRecord, NodeRecord, PodRecord, Record

IMAGE = "europe-west4-docker.pkg.dev/acme/serving/model:1.0"
SIZE = 2_000_000_000
DISK = DiskImageRef("acme", "models-2026-01")
_uids = itertools.count()


def event(
    reason: str = "Pulled",
    message: str = "",
    *,
    node: str = "n1",
    pod: str = "web-1",
    at: float = 1000.0,
    count: int = 1,
    uid: str = "",
    namespace: str = "default",
) -> EventRecord:
    return EventRecord(
        uid=uid or f"uid-{next(_uids)}",
        reason=reason,
        message=message,
        node=node,
        namespace=namespace,
        object_name=pod,
        container="main",
        first=at,
        last=at,
        count=count,
    )


def pulled(
    seconds: str = "43.2s",
    waiting: str = "",
    *,
    image: str = IMAGE,
    size: int | None = SIZE,
    node: str = "n1",
    pod: str = "web-1",
    at: float = 1000.0,
) -> EventRecord:
    tail = "" if size is None else f". Image size: {size} bytes."
    message = f'Successfully pulled image "{image}" in {seconds} ({waiting or seconds} including waiting){tail}'
    return event("Pulled", message, node=node, pod=pod, at=at)


def present(
    image: str = IMAGE, *, node: str = "n1", pod: str = "web-1", at: float = 1000.0, count: int = 1, uid: str = ""
) -> EventRecord:
    message = f'Container image "{image}" already present on machine'
    return event("Pulled", message, node=node, pod=pod, at=at, count=count, uid=uid)


def node(
    name: str = "n1",
    pool: str = "plain",
    *,
    disk: bool = False,
    streaming: bool = False,
    created: float = 0.0,
    ready: float = 30.0,
    zone: str = "z-a",
) -> NodeRecord:
    return NodeRecord(name, pool, zone, created, ready, streaming, (DISK,) if disk else ())


def pod(
    name: str = "web-1", *, on: str = "n1", created: float, scheduled: float, ready: float, restarts: int = 0
) -> PodRecord:
    return PodRecord(f"uid-{name}", "default", name, on, created, scheduled, ready, restarts)


def ledger(records: Iterable[Record], since: float | None = None) -> Ledger:
    made = Ledger(since=since)
    for record in records:
        made.add(record)
    return made
