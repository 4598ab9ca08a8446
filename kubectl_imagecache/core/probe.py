"""A probe: one pod that makes one node pull one image and does nothing else, and what its events tell of the pull."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

from kubectl_imagecache.core.pools import POOL_LABEL, Taint
from kubectl_imagecache.core.pull_ledger import Ledger
from kubectl_imagecache.core.pull_methods import Method, Sureness, judge
from kubectl_imagecache.core.pull_records import EventRecord, NodeRecord

MANAGED_BY = "app.kubernetes.io/managed-by"
PROGRAM = "kubectl-imagecache"
RUN = "kubectl-imagecache/run"
"""Label of probes and of what owns them: which run they belong to."""
CONTAINER = "probe"
NO_COMMAND = ("/kubectl-imagecache/no-such-command",)
"""What a probe starts unless told otherwise: no image has it, so that nothing of the image ever runs, whatever it is,
with a shell or without. The node pulls and unpacks the image and makes the container all the same."""
NOBODY = 65534
# A service mesh's proxy would be pulled and started beside it: https://istio.io/latest/docs/reference/config/labels/,
# https://linkerd.io/2/features/proxy-injection/
_ALONE = {"sidecar.istio.io/inject": "false"}
_ALONE_TOO = {"linkerd.io/inject": "disabled"}
TRIES = 3
"""Pulls that may fail before a probe counts as failed: the kubelet's back-off is 10 s, 20 s, 40 s, …"""
EVENT_LATE_S = 30.0
"""How long the event of a pull may come after the container's state: kubelets send events aside, at their leisure."""
_NOT_STARTED = frozenset({"StartError", "ContainerCannotRun"})
"""Reasons of a container that ended because its command could not be started."""
_AFTER_PULL = frozenset({"RunContainerError", "CreateContainerError", "CreateContainerConfigError", "CrashLoopBackOff"})
"""The kubelet's reasons for waiting that come after the pull only."""
_PASSING = frozenset({"", "ContainerCreating", "PodInitializing"})
_NEVER = frozenset({"InvalidImageName", "ErrImageNeverPull"})


@dataclass(frozen=True, slots=True)
class Owner:
    """The object that a probe goes with when it is deleted."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """A probe to be made."""

    name: str
    namespace: str
    image: str
    """As the node is to be asked for it."""
    run: str
    """Value of the label RUN."""
    pool: str
    """Empty: any."""
    node: str = ""
    """Empty: any node of the pool but those of `avoid`; if there is none, an autoscaler may bring one."""
    avoid: tuple[str, ...] = ()
    taints: tuple[Taint, ...] = ()
    """Of the pool's nodes, all tolerated."""
    owner: Owner | None = None
    limit_s: float = 3600.0
    """The node ends the pod after so long, whoever made it."""
    command: tuple[str, ...] = NO_COMMAND
    """Empty: the image's own."""
    service_account: str = ""
    """Empty: the namespace's default; its pull secrets count."""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe as the cluster shows it."""

    name: str
    namespace: str
    uid: str
    run: str
    node: str = ""
    """Empty: not placed yet."""
    image: str = ""
    created: datetime | None = None
    scheduled: datetime | None = None
    unplaced: str = ""
    """The scheduler's words on why there is no node for it; empty if it is placed, or not looked at yet."""
    there: bool = False
    """The container was made, so its image is on the node."""
    started: datetime | None = None
    """When the container's command was started, or would have been (NO_COMMAND)."""
    ended: datetime | None = None
    """When the container ended; None while it runs, and before."""
    waiting: str = ""
    """Why the container waits: the kubelet's word."""
    gone: str = ""
    """Why the whole pod failed though its container did not: Evicted, NodeShutdown, DeadlineExceeded, …"""
    leaving: bool = False
    """It has a deletionTimestamp."""
    annotations: Mapping[str, str] = field(default_factory=dict)


class Found(Enum):
    """How far a probe has come."""

    UNPLACED = "unplaced"
    """No node yet."""
    WAITING = "waiting"
    """On its node; the pull has not ended, or its event has not come."""
    PULLED = "pulled"
    PRESENT = "present"
    """The node had the image: nothing was pulled, so nothing is measured."""
    FAILED = "failed"
    """The image can't be had, or the pod did not live long enough."""
    UNSEEN = "unseen"
    """The image is there, and no event tells how it came."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a probe has found out."""

    found: Found
    node: str = ""
    seconds: float | None = None
    """Of PULLED: the pull alone, as finely as the kubelet tells."""
    queue_s: float | None = None
    """Of PULLED: the wait in the kubelet's queue before it; None: not told apart."""
    size: int | None = None
    """Compressed bytes, where the kubelet tells."""
    running_s: float | None = None
    """From the scheduler's placing the pod until its command was (or would have been) started, in whole seconds as
    Kubernetes keeps them; None: not known."""
    method: Method | None = None
    """Of PULLED."""
    sure: Sureness | None = None
    failures: int = 0
    """Pulls that failed before this one."""
    ended: float | None = None
    """Epoch seconds of the event."""
    why: str = ""
    """Of UNPLACED, FAILED, UNSEEN: one line."""

    @property
    def over(self) -> bool:
        """Whether nothing more is to be expected of the probe."""
        return self.found not in (Found.UNPLACED, Found.WAITING)


def manifest(spec: ProbeSpec) -> dict[str, Any]:
    """SPEC as a Pod that conforms to Pod Security's `restricted` and asks for next to nothing."""
    metadata: dict[str, Any] = {
        "name": spec.name,
        "namespace": spec.namespace,
        "labels": {MANAGED_BY: PROGRAM, RUN: spec.run, **_ALONE},
        "annotations": {**_ALONE_TOO, **spec.annotations},
    }
    if spec.owner is not None:
        owner = spec.owner
        metadata["ownerReferences"] = [
            {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}
        ]
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": max(1, int(spec.limit_s)),
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": NOBODY,
            "runAsGroup": NOBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": _affinity(spec),
        "tolerations": [_toleration(taint) for taint in sorted(set(spec.taints), key=lambda t: (t.key, t.effect))],
        "containers": [_container(spec)],
    }
    if spec.pool:
        pod["nodeSelector"] = {POOL_LABEL: spec.pool}
    if spec.service_account:
        pod["serviceAccountName"] = spec.service_account
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}


def _container(spec: ProbeSpec) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": spec.image,
        # `latest` would mean Always: the kubelet then says that it pulled what was there already.
        "imagePullPolicy": "IfNotPresent",
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"cpu": "100m", "memory": "64Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    if spec.command:
        container["command"] = list(spec.command)
    return container


def _affinity(spec: ProbeSpec) -> dict[str, Any]:
    """To one node by its name, past no rule of the scheduler; or away from nodes, and always from other probes."""
    apart = {"labelSelector": {"matchLabels": {RUN: spec.run}}, "topologyKey": "kubernetes.io/hostname"}
    found: dict[str, Any] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}
    term: dict[str, Any] = {}
    if spec.node:
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [spec.node]}]}
    elif spec.avoid:
        away = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": sorted(spec.avoid)}
        term = {"matchExpressions": [away]}
    if term:
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
        found["nodeAffinity"] = required
    return found


def _toleration(taint: Taint) -> dict[str, str]:
    tolerated = {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect}
    if not taint.value:
        tolerated = {"key": taint.key, "operator": "Exists", "effect": taint.effect}
    return tolerated


def outcome(probe: Probe, events: Iterable[EventRecord], node: NodeRecord | None, now: datetime) -> Outcome:
    """What PROBE and the EVENTS about it and its node say so far; NODE's labels help to tell the method."""
    if not probe.node:
        return _without_node(probe)
    ledger = Ledger()
    for event in events:
        ledger.add(event)
    if node is not None:
        ledger.add(node)
    mine = f"{probe.namespace}/{probe.name}"
    image = ledger.image(probe.image)
    failed = ledger.troubles.get((image, probe.node))
    for one in judge(ledger):
        if one.pull.pod != mine:
            continue
        found = Outcome(Found.PRESENT, probe.node, running_s=running_s(probe), ended=one.pull.ended)
        if one.pull.seconds is None:
            return found
        return replace(
            found,
            found=Found.PULLED,
            seconds=one.pull.seconds,
            queue_s=one.pull.queue_s,
            size=one.pull.size,
            method=one.method,
            sure=one.sure,
            failures=failed.failed if failed else 0,
        )
    if failed is not None and (failed.failed >= TRIES or failed.refused):
        return Outcome(Found.FAILED, probe.node, failures=failed.failed, why=failed.why or "the image can't be pulled")
    return _without_pull(probe, now)


def _without_node(probe: Probe) -> Outcome:
    if probe.gone or probe.leaving:
        return Outcome(Found.FAILED, why=f"the pod ended before it had a node: {probe.gone or 'it was deleted'}")
    return Outcome(Found.UNPLACED, why=probe.unplaced)


def _without_pull(probe: Probe, now: datetime) -> Outcome:
    if probe.there:
        since = probe.ended or probe.started
        if since is None or (now - since).total_seconds() < EVENT_LATE_S:
            return Outcome(Found.WAITING, probe.node, why="the pull's event has not come yet")
        return Outcome(Found.UNSEEN, probe.node, running_s=running_s(probe), why="the image is there without an event")
    if probe.gone:
        return Outcome(Found.FAILED, probe.node, why=f"the pod ended before its pull did: {probe.gone}")
    if probe.leaving:
        return Outcome(Found.FAILED, probe.node, why="the pod was deleted before its pull ended")
    if probe.waiting in _NEVER:
        return Outcome(Found.FAILED, probe.node, why=probe.waiting)
    return Outcome(Found.WAITING, probe.node, why="" if probe.waiting in _PASSING else probe.waiting)


def running_s(probe: Probe) -> float | None:
    """Seconds from placing to start; None if either is not known."""
    if probe.scheduled is None or probe.started is None:
        return None
    return max(0.0, (probe.started - probe.scheduled).total_seconds())


def not_started(reason: str) -> bool:
    """Whether a container that ended for REASON had been made, and only its command could not be started."""
    return reason in _NOT_STARTED


def after_pull(waiting: str) -> bool:
    """Whether a container that is WAITING for this reason has its image."""
    return waiting in _AFTER_PULL
