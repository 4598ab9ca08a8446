"""The fields of events, nodes and pods that tell of pulls and of time; everything is optional, as in wire.py."""

from __future__ import annotations

import msgspec

from kubectl_imagecache.clients.kube.wire import ListMeta, Source, Wire


class About(Wire):
    """An ObjectReference."""

    kind: str | None = None
    namespace: str | None = None
    name: str | None = None
    field_path: str | None = None


class Series(Wire):
    """An event that goes on."""

    count: int | None = None
    last_observed_time: str | None = None


class EventMeta(Wire):
    """An event's metadata."""

    uid: str | None = None
    namespace: str | None = None
    creation_timestamp: str | None = None
    resource_version: str | None = None


class AnyEvent(Wire):
    """An event as core/v1 (`message`, `involvedObject`) or events.k8s.io/v1 (`note`, `regarding`) writes it."""

    metadata: EventMeta | None = None
    reason: str | None = None
    message: str | None = None
    note: str | None = None
    involved_object: About | None = None
    regarding: About | None = None
    source: Source | None = None
    deprecated_source: Source | None = None
    reporting_instance: str | None = None
    first_timestamp: str | None = None
    deprecated_first_timestamp: str | None = None
    last_timestamp: str | None = None
    deprecated_last_timestamp: str | None = None
    event_time: str | None = None
    count: int | None = None
    deprecated_count: int | None = None
    series: Series | None = None


class TimedCondition(Wire):
    """A condition with its time."""

    type: str | None = None
    status: str | None = None
    last_transition_time: str | None = None


class NodeInfo(Wire):
    """status.nodeInfo."""

    kubelet_version: str | None = None


class Restarts(Wire):
    """A container's status."""

    restart_count: int | None = None


class TimedStatus(Wire):
    """What nodes' and pods' statuses have that matters here."""

    conditions: list[TimedCondition] | None = None
    node_info: NodeInfo | None = None
    container_statuses: list[Restarts] | None = None
    init_container_statuses: list[Restarts] | None = None


class Place(Wire):
    """A pod's spec."""

    node_name: str | None = None


class Owned(Wire):
    """metadata of a node or pod."""

    uid: str | None = None
    name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    creation_timestamp: str | None = None


class Timed(Wire):
    """A node or a pod."""

    metadata: Owned | None = None
    spec: Place | None = None
    status: TimedStatus | None = None


class Versioned(ListMeta):
    """metadata of a list, with the version to watch from."""

    resource_version: str | None = msgspec.field(default=None, name="resourceVersion")


class EventPage(Wire):
    """One page of events."""

    metadata: Versioned | None = None
    items: list[AnyEvent] | None = None


class TimedPage(Wire):
    """One page of nodes or pods."""

    metadata: ListMeta | None = None
    items: list[Timed] | None = None


class RawPage(Wire):
    """A page whose items are decoded one by one, since one of them is not in the shape of its kind."""

    metadata: Versioned | None = None
    items: list[msgspec.Raw] | None = None
