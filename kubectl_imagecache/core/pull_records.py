"""What is read for `pulls`, record by record: events, nodes, pods and the snapshotter's log lines, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from kubectl_imagecache.core.pools import DiskImageRef


@dataclass(slots=True)  # Not frozen: made by the hundred thousand, and a frozen one takes three times as long to make.
class EventRecord:
    """One event of the API, whichever of its two groups told it; never changed."""

    uid: str
    """Tells a repeated event (a greater `count`) from another one."""
    reason: str
    message: str
    node: str
    """Where it happened; empty if the event doesn't tell."""
    namespace: str = ""
    object_name: str = ""
    """The pod (or node) that it is about."""
    container: str = ""
    """From `involvedObject.fieldPath`: `spec.containers{main}` is `main`."""
    first: float | None = None
    """Epoch seconds; None is unknown."""
    last: float | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """What matters of one node."""

    name: str
    pool: str = ""
    zone: str = ""
    created: float | None = None
    """Epoch seconds; None is unknown."""
    ready: float | None = None
    """When it last became Ready; None if it isn't, or that is unknown."""
    image_streaming: bool = False
    cache_disks: tuple[DiskImageRef, ...] = ()
    machine_type: str = ""
    kubelet_version: str = ""


@dataclass(frozen=True, slots=True)
class PodRecord:
    """When one pod came to be, was placed and was ready."""

    uid: str
    namespace: str
    name: str
    node: str
    created: float | None = None
    """Epoch seconds; None is unknown, or it has not happened."""
    scheduled: float | None = None
    ready: float | None = None
    restarts: int = 0
    """Of all containers; more than 0 makes `ready` a later one than the first."""


@dataclass(frozen=True, slots=True)
class LayersRecord:
    """One line of GKE's image snapshotter: which way an image's layers come on a node."""

    image: str
    node: str
    at: float | None
    layers: int
    by_disk: int
    """Layers on the cache disk."""
    by_streaming: int
    """Layers by image streaming; the rest is pulled from the registry."""


Record = EventRecord | NodeRecord | PodRecord | LayersRecord
