"""The fields of a pod that tell how far a probe has come; everything is optional, as in wire.py."""

from __future__ import annotations

import msgspec

from kubectl_imagecache.clients.kube.wire import ListMeta, Wire, parse_time
from kubectl_imagecache.core.probe import CONTAINER, RUN, Probe, after_pull, not_started


class _Meta(Wire):
    name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class _Container(Wire):
    name: str | None = None
    image: str | None = None


class _Spec(Wire):
    node_name: str | None = None
    containers: list[_Container] | None = None


class _Waiting(Wire):
    reason: str | None = None


class _Running(Wire):
    started_at: str | None = None


class _Terminated(Wire):
    reason: str | None = None
    started_at: str | None = None
    finished_at: str | None = None


class _State(Wire):
    waiting: _Waiting | None = None
    running: _Running | None = None
    terminated: _Terminated | None = None


class _Status(Wire):
    name: str | None = None
    state: _State | None = None
    container_id: str | None = msgspec.field(default=None, name="containerID")


class _Condition(Wire):
    type: str | None = None
    status: str | None = None
    reason: str | None = None
    message: str | None = None
    last_transition_time: str | None = None


class _PodStatus(Wire):
    phase: str | None = None
    reason: str | None = None
    message: str | None = None
    conditions: list[_Condition] | None = None
    container_statuses: list[_Status] | None = None


class Pod(Wire):
    """A probe's pod."""

    metadata: _Meta | None = None
    spec: _Spec | None = None
    status: _PodStatus | None = None


class PodPage(Wire):
    """One page of them."""

    metadata: ListMeta | None = None
    items: list[Pod] | None = None


# msgspec (0.22) crashes if threads are the first to use a type at the same time: each type is prepared here, by one.
for _kind in (Pod, PodPage):
    msgspec.json.Decoder(_kind)


def probe_of(pod: Pod) -> Probe:
    """POD in a probe's words."""
    meta, spec, status = pod.metadata or _Meta(), pod.spec or _Spec(), pod.status or _PodStatus()
    placed = next((one for one in status.conditions or () if one.type == "PodScheduled"), _Condition())
    mine = next((one for one in status.container_statuses or () if one.name == CONTAINER), _Status())
    state = mine.state or _State()
    waiting, running, over = state.waiting or _Waiting(), state.running or _Running(), state.terminated or _Terminated()
    started = parse_time(running.started_at or over.started_at)
    ended = parse_time(over.finished_at)
    # The runtime writes 1970 where a container's command never was started (containerd, CRI's StartError).
    if not_started(over.reason or "") or (started is not None and started.year < 2000):
        started = ended
    return Probe(
        name=meta.name or "",
        namespace=meta.namespace or "",
        uid=meta.uid or "",
        run=(meta.labels or {}).get(RUN, ""),
        node=spec.node_name or "",
        image=next((one.image or "" for one in spec.containers or () if one.name == CONTAINER), ""),
        created=parse_time(meta.creation_timestamp),
        scheduled=parse_time(placed.last_transition_time) if placed.status == "True" else None,
        unplaced=" ".join((placed.message or "").split())[:300] if placed.status == "False" else "",
        there=bool(mine.container_id) or state.running is not None or after_pull(waiting.reason or ""),
        started=started,
        ended=ended,
        waiting=waiting.reason or "",
        gone=_gone(status) if state.running is None and not mine.container_id else "",
        leaving=meta.deletion_timestamp is not None,
        annotations=meta.annotations or {},
    )


def _gone(status: _PodStatus) -> str:
    if status.phase not in ("Failed", "Succeeded"):
        return ""
    words = ": ".join(word for word in (status.reason, status.message) if word) or str(status.phase)
    return " ".join(words.split())[:300]
