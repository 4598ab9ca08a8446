"""Events, nodes and pods read as the records that pulls are told from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar
from urllib.parse import quote

import msgspec

from kubectl_imagecache.clients.kube.client import Kube
from kubectl_imagecache.clients.kube.lists import Unreadable, decoder_of, read_list
from kubectl_imagecache.clients.kube.nodes import STREAMING_LABEL, cache_disks
from kubectl_imagecache.clients.kube.pull_wire import (
    About,
    AnyEvent,
    EventMeta,
    EventPage,
    Owned,
    RawPage,
    Timed,
    TimedPage,
    TimedStatus,
    Versioned,
)
from kubectl_imagecache.clients.kube.wire import parse_time
from kubectl_imagecache.core.errors import BadAnswer, NotFound, NotPermitted, UserError
from kubectl_imagecache.core.kubelet_words import REASONS, may_matter
from kubectl_imagecache.core.pools import POOL_LABEL
from kubectl_imagecache.core.pull_records import EventRecord, NodeRecord, PodRecord, Record
from kubectl_imagecache.core.uncollected import uncollected
from kubectl_imagecache.core.views import Gap

EVENTS = "/api/v1"
"""Where events have always been."""
NEW_EVENTS = "/apis/events.k8s.io/v1"
"""The same events under their newer group: for those who may only read these."""
# The most frequent events of pods that have nothing to do with images. Both groups select by reason.
_NOISE = ",".join(
    f"reason!={reason}"
    for reason in (
        "Scheduled",
        "Created",
        "Started",
        "Killing",
        "Unhealthy",
        "FailedScheduling",
        "FailedMount",
        "SuccessfulCreate",
        "SuccessfulDelete",
    )
)
_ZONE_LABELS = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
_MACHINE_LABELS = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
T = TypeVar("T")
_NO_META, _NOTHING = EventMeta(), About()
Add = Callable[[Record], object]
Hear = Callable[[str, str, str, str, str, str, str, float | None, float | None, int], T]
"""Takes the members of an EventRecord, in their order: EventRecord itself, or Ledger.hear, which needs no record."""


def read_nodes(kube: Kube, add: Add) -> list[Gap]:
    """Read all nodes. Raises what Transport.get raises."""
    return _read_timed(kube, "nodes", "", lambda node: add(node_record(node)))


def read_pods(kube: Kube, namespaces: Iterable[str], add: Add, wanted: Callable[[str], bool]) -> list[Gap]:
    """Read running pods, those whose `NAMESPACE/NAME` is WANTED. Raises what Transport.get raises."""

    def keep(pod: Timed) -> None:
        record = pod_record(pod)
        if wanted(f"{record.namespace}/{record.name}"):
            add(record)

    gaps: list[Gap] = []
    for namespace in tuple(namespaces) or ("",):
        gaps += _read_timed(kube, "pods", namespace, keep, {"fieldSelector": "status.phase=Running"})
    return gaps


def read_events(kube: Kube, namespace: str, hear: Hear[object]) -> tuple[str, str, list[Gap]]:
    """Read the events of NAMESPACE (empty: all) from whichever group may be read.

    Returns the group's root, the list's resourceVersion, gaps. Raises NotPermitted if neither may be, and what
    Transport.get raises.
    """
    try:
        return EVENTS, *_read_events(kube, EVENTS, namespace, hear)
    except (NotPermitted, NotFound) as first:
        try:
            return NEW_EVENTS, *_read_events(kube, NEW_EVENTS, namespace, hear)
        except (NotPermitted, NotFound):
            raise first from None


def events_query() -> dict[str, str]:
    """What is asked of events: nothing that can't be about an image."""
    return {"fieldSelector": _NOISE}


def path_of(root: str, namespace: str, resource: str) -> str:
    """The list's path; NAMESPACE empty is all of them."""
    return f"{root}/namespaces/{quote(namespace, safe='')}/{resource}" if namespace else f"{root}/{resource}"


def read_all(
    kube: Kube,
    namespaces: tuple[str, ...],
    add: Add,
    has_pull: Callable[[str], bool],
    hear: Hear[object] | None = None,
) -> list[Gap]:
    """Read nodes and events side by side, then the pods of which HAS_PULL (`NAMESPACE/NAME`) is true.

    HEAR takes the events, instead of ADD.

    What may not be read becomes a gap. Raises the error itself where no events can be had, for nothing is left then.
    """
    with uncollected(), ThreadPoolExecutor(2, "pulls") as threads:
        nodes = threads.submit(lambda: read_nodes(kube, add))
        events = threads.submit(lambda: list(_all_events(kube, namespaces, hear or as_records(add))))
        gaps = events.result()
        gaps += _or_gap("nodes", nodes.result, "pools, and so most methods, are unknown")
    pods = _or_gap(
        "pods", lambda: read_pods(kube, namespaces, add, has_pull), "what follows a pull until Ready is unknown"
    )
    return gaps + pods


def _all_events(kube: Kube, namespaces: tuple[str, ...], hear: Hear[object]) -> Iterator[Gap]:
    # GKE tells of a node's images in the namespace `default`.
    refused: list[UserError] = []
    for namespace in namespaces or ("",):
        try:
            yield from read_events(kube, namespace, hear)[2]
        except (NotPermitted, NotFound) as error:
            refused.append(error)
            yield Gap(f"events of namespace {namespace}", error.message, error.hint)
    if len(refused) == len(namespaces or ("",)):
        raise refused[0]
    if namespaces and "default" not in namespaces:
        yield from _or_gap("events about nodes", lambda: read_events(kube, "default", hear)[2], "")


def _or_gap(what: str, read: Callable[[], list[Gap]], so: str) -> list[Gap]:
    try:
        return read()
    except (NotPermitted, NotFound) as error:
        return [Gap(what, f"{error.message}; {so}" if so else error.message, error.hint)]


def _read_events(kube: Kube, root: str, namespace: str, hear: Hear[object]) -> tuple[str, list[Gap]]:
    unreadable = Unreadable()
    version = ""

    def begin() -> Callable[[bytes], str]:
        unreadable.clear()
        return page

    def page(body: bytes) -> str:
        nonlocal version
        items, meta = _decode_events(body, unreadable)
        version = (meta.resource_version if meta else None) or version
        for event in items:
            if event.reason in REASONS or (event.reason and may_matter(event.reason)):
                told(event, hear)
        return (meta.next if meta else None) or ""

    read_list(kube.transport, [path_of(root, namespace, "events")], events_query(), "events", begin)
    return version, unreadable.gaps("events")


def _decode_events(body: bytes, unreadable: Unreadable) -> tuple[list[AnyEvent], Versioned | None]:
    try:
        page: EventPage = decoder_of(EventPage).decode(body)
        return page.items or [], page.metadata
    except msgspec.ValidationError:
        pass
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"the list of events is not JSON: {error}", "is there a proxy in between?") from error
    try:
        raw: RawPage = decoder_of(RawPage).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"not a list of events: {error}") from error
    return list(decode_each(raw.items or (), AnyEvent, unreadable)), raw.metadata


def decode_each(raws: Iterable[msgspec.Raw], kind: type[AnyEvent], unreadable: Unreadable) -> Iterator[AnyEvent]:
    """Those of RAWS that can be decoded; the others are counted in UNREADABLE."""
    for raw in raws:
        try:
            yield decoder_of(kind).decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            unreadable.add(str(error)[:200])


def event_records(events: Iterable[AnyEvent]) -> Iterator[EventRecord]:
    """The records of those EVENTS that may be about images."""
    for event in events:
        if event.reason and may_matter(event.reason):
            yield event_record(event)


def as_records(add: Add) -> Hear[object]:
    """Make a record of each event, for ADD."""
    return lambda *members: add(EventRecord(*members))


def told(event: AnyEvent, hear: Hear[T]) -> T:
    """What HEAR makes of EVENT, of either group."""
    meta = event.metadata or _NO_META
    about = event.involved_object or event.regarding or _NOTHING
    source = event.source or event.deprecated_source
    node = about.name if about.kind == "Node" else (source.host if source else None) or event.reporting_instance
    first = event.first_timestamp or event.deprecated_first_timestamp or event.event_time or meta.creation_timestamp
    last = event.last_timestamp or event.deprecated_last_timestamp or first
    count = event.count or event.deprecated_count or 1
    if event.series is not None:
        last = event.series.last_observed_time or last
        count = event.series.count or count
    began = epoch(first)
    return hear(
        meta.uid or "",
        event.reason or "",
        event.message or event.note or "",
        node or "",
        about.namespace or meta.namespace or "",
        about.name or "",
        _container(about.field_path or ""),
        began,
        began if last == first else epoch(last),
        count if count > 0 else 1,
    )


def event_record(event: AnyEvent) -> EventRecord:
    """EVENT of either group as a record."""
    return told(event, EventRecord)


def node_record(node: Timed) -> NodeRecord:
    """NODE as a record."""
    meta, status = node.metadata or Owned(), node.status or TimedStatus()
    labels = meta.labels or {}
    return NodeRecord(
        name=meta.name or "",
        pool=labels.get(POOL_LABEL, ""),
        zone=_first(labels, _ZONE_LABELS),
        created=epoch(meta.creation_timestamp),
        ready=_since(status, "Ready"),
        image_streaming=labels.get(STREAMING_LABEL) == "true",
        cache_disks=cache_disks(labels),
        machine_type=_first(labels, _MACHINE_LABELS),
        kubelet_version=(status.node_info.kubelet_version if status.node_info else None) or "",
    )


def pod_record(pod: Timed) -> PodRecord:
    """POD as a record."""
    meta, status = pod.metadata or Owned(), pod.status or TimedStatus()
    containers = (*(status.container_statuses or ()), *(status.init_container_statuses or ()))
    return PodRecord(
        uid=meta.uid or "",
        namespace=meta.namespace or "",
        name=meta.name or "",
        node=(pod.spec.node_name if pod.spec else None) or "",
        created=epoch(meta.creation_timestamp),
        scheduled=_since(status, "PodScheduled"),
        ready=_since(status, "Ready"),
        restarts=sum(container.restart_count or 0 for container in containers),
    )


def _read_timed(
    kube: Kube, resource: str, namespace: str, keep: Callable[[Timed], object], query: dict[str, str] | None = None
) -> list[Gap]:
    unreadable = Unreadable()

    def begin() -> Callable[[bytes], str]:
        unreadable.clear()
        return page

    def page(body: bytes) -> str:
        try:
            found: TimedPage = decoder_of(TimedPage).decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadAnswer(f"not a list of {resource}: {error}", "is there a proxy in between?") from error
        for one in found.items or ():
            keep(one)
        return (found.metadata.next if found.metadata else None) or ""

    read_list(kube.transport, [path_of(EVENTS, namespace, resource)], query or {}, resource, begin)
    return unreadable.gaps(resource)


@lru_cache(maxsize=8192)  # Events come in bursts of the same second.
def epoch(text: str | None) -> float | None:
    """An RFC 3339 time as epoch seconds; None if there is none or it can't be read."""
    moment = parse_time(text)
    return None if moment is None else moment.timestamp()


def _since(status: TimedStatus, kind: str) -> float | None:
    for condition in status.conditions or ():
        if condition.type == kind and condition.status == "True":
            return epoch(condition.last_transition_time)
    return None


def _first(labels: dict[str, str], names: tuple[str, ...]) -> str:
    return next((labels[name] for name in names if name in labels), "")


@lru_cache(maxsize=1024)
def _container(field_path: str) -> str:
    """`spec.containers{main}` is `main`."""
    return field_path.partition("{")[2].rstrip("}")
