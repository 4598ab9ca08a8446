"""A small scheduler: which node a pod goes to, and why to none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from kubectl_imagecache.sandbox.kube.kinds import NODE, POD, Obj
from kubectl_imagecache.sandbox.kube.objects import Objects
from kubectl_imagecache.sandbox.kube.quantities import milli
from kubectl_imagecache.sandbox.kube.selectors import label_selector, requirement
from kubectl_imagecache.sandbox.kube.store import Change, Entry, Key, condition, stamp

_TICK_S = 0.05
_RETRY_S = 1.0
_CANDIDATES = 8
"""Feasible nodes that are compared; the real one samples in large clusters too."""
_LARGE = 100
"""Nodes from which on the real one samples
(https://kubernetes.io/docs/concepts/scheduling-eviction/scheduler-perf-tuning/)."""

UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as the scheduler sees it."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Obj, ...]
    allocatable: Mapping[str, int]
    """Thousandths of each resource's unit."""


def node_view(node: Obj) -> NodeView:
    """What scheduling needs of a node."""
    spec, status = node.get("spec", {}), node.get("status", {})
    taints = list(spec.get("taints") or ())
    if spec.get("unschedulable") and not any(t["key"] == UNSCHEDULABLE["key"] for t in taints):
        taints.append(UNSCHEDULABLE)
    if condition(node, "Ready").get("status") != "True":
        taints.append({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"})
    allocatable = {name: milli(amount) for name, amount in (status.get("allocatable") or {}).items()}
    return NodeView(node["metadata"]["name"], node["metadata"].get("labels") or {}, tuple(taints), allocatable)


def selects(spec: Obj, node: NodeView) -> bool:
    """Whether nodeSelector and required node affinity allow the node."""
    if any(node.labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(_term_matches(term, node) for term in required.get("nodeSelectorTerms") or ())


def _term_matches(term: Obj, node: NodeView) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    named = {"metadata.name": node.name}
    return all(
        requirement(e["key"], e["operator"], list(e.get("values") or ()))(node.labels) for e in expressions
    ) and all(requirement(e["key"], e["operator"], list(e.get("values") or ()))(named) for e in fields)


def untolerated(spec: Obj, node: NodeView) -> Obj | None:
    """The first taint that keeps the pod away; None if all are tolerated."""
    tolerations = spec.get("tolerations") or ()
    for taint in node.taints:
        if taint["effect"] != "PreferNoSchedule" and not any(_tolerates(t, taint) for t in tolerations):
            return taint
    return None


def _tolerates(toleration: Obj, taint: Obj) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("key") not in (None, "", taint["key"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


class Scheduler:
    """Binds Pending pods, a little later than they come."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._store = objects.store
        self._views: dict[str, NodeView] = {}
        self._order: list[str] = []
        self._cursor = 0
        self._queue: dict[Key, None] = {}
        self._refused: dict[Key, str] = {}
        self._ticking = False

    def views(self) -> list[NodeView]:
        """All nodes, by name."""
        return [self._views[name] for name in self._order]

    def note(self, change: Change) -> None:
        """Take in a change of a node or a pod."""
        if change.table == "nodes":
            self._note_node(change)
        elif change.table == "pods":
            pod = change.new
            if pod is not None and not pod.pod.node and pod.pod.phase == "Pending":
                if change.old is None:
                    self._queue[pod.key] = None
                    self._wake(_TICK_S)
            elif pod is None and change.old is not None:
                self._queue.pop(change.old.key, None)
                self._refused.pop(change.old.key, None)
                if change.old.pod.node:
                    self._retry()

    def _note_node(self, change: Change) -> None:
        if change.new is None:
            if change.old is not None and self._views.pop(change.old.name, None) is not None:
                self._order.remove(change.old.name)
            return
        view = node_view(change.new.parsed(NODE))
        if self._views.get(view.name) == view:
            return
        if view.name not in self._views:
            self._order.append(view.name)
            self._order.sort()
        self._views[view.name] = view
        self._retry()

    def _retry(self) -> None:
        if self._refused:
            self._queue.update(dict.fromkeys(self._refused))
            self._wake(_RETRY_S)

    def _wake(self, seconds: float) -> None:
        if not self._ticking:
            self._ticking = True
            self._store.clock.call_later(seconds, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        queue, self._queue = self._queue, {}
        for namespace, name in queue:
            entry = self._store.get(POD, namespace, name)
            if entry is not None and not entry.pod.node and not entry.pod.terminating:
                self._schedule(entry)

    def _schedule(self, entry: Entry) -> None:
        pod = entry.parsed(POD)
        if pod["spec"].get("schedulerName", "default-scheduler") != "default-scheduler":
            return
        reasons: Counter[str] = Counter()
        best: tuple[float, str] | None = None
        found = step = 0
        for step in range(len(self._order)):
            name = self._order[(self._cursor + step) % len(self._order)]
            why, load = self._fits(pod, entry, self._views[name])
            if why:
                reasons[why] += 1
                continue
            found += 1
            if best is None or load < best[0]:
                best = (load, name)
            if found == _CANDIDATES:
                break
        if best is None:
            self._refuse(entry, pod, reasons)
            return
        # In a large cluster the next pod begins where this one ended, as with the real one; full nodes lie behind.
        self._cursor = (self._cursor + (step + 1 if len(self._order) > _LARGE else 1)) % len(self._order)
        self._bind(entry, pod, best[1])

    def _fits(self, pod: Obj, entry: Entry, node: NodeView) -> tuple[str, float]:
        spec = pod["spec"]
        taint = untolerated(spec, node)
        if taint is not None:
            if taint["key"] == UNSCHEDULABLE["key"]:
                return "node(s) were unschedulable", 0.0
            value = f"{taint['key']}: {taint.get('value') or ''}"
            return f"node(s) had untolerated taint {{{value}}}", 0.0
        if not selects(spec, node):
            return "node(s) didn't match Pod's node affinity/selector", 0.0
        there = [e for e in self._store.pods_on(POD, node.name) if e.pod.phase not in ("Succeeded", "Failed")]
        if not _apart(pod, there):
            return "node(s) didn't match pod anti-affinity rules", 0.0
        return _room(entry, there, node)

    def _bind(self, entry: Entry, pod: Obj, node: str) -> None:
        self._refused.pop(entry.key, None)
        now = stamp(self._store.clock.now())
        pod["spec"]["nodeName"] = node
        others = [c for c in pod["status"].get("conditions") or () if c["type"] != "PodScheduled"]
        scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
        pod["status"]["conditions"] = [*others, scheduled]
        self._store.put(POD, pod)
        message = f"Successfully assigned {entry.namespace}/{entry.name} to {node}"
        self._objects.event(pod, "Scheduled", message, source="default-scheduler")

    def _refuse(self, entry: Entry, pod: Obj, reasons: Counter[str]) -> None:
        total = len(self._order)
        if total:
            parts = ", ".join(sorted(f"{count} {why}" for why, count in reasons.items()))
            message = (
                f"0/{total} nodes are available: {parts}. preemption: 0/{total} nodes are available: "
                f"{total} Preemption is not helpful for scheduling."
            )
        else:
            message = "no nodes available to schedule pods"
        if self._refused.get(entry.key) == message:
            return
        self._refused[entry.key] = message
        now = stamp(self._store.clock.now())
        others = [c for c in pod["status"].get("conditions") or () if c["type"] != "PodScheduled"]
        refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        pod["status"]["conditions"] = [*others, {**refused, "lastProbeTime": None, "lastTransitionTime": now}]
        self._store.put(POD, pod)
        self._objects.event(pod, "FailedScheduling", message, source="default-scheduler", warning=True)


def _apart(pod: Obj, there: list[Entry]) -> bool:
    affinity = (pod["spec"].get("affinity") or {}).get("podAntiAffinity") or {}
    for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
        if term.get("topologyKey") != "kubernetes.io/hostname":
            continue
        matches = label_selector(term.get("labelSelector"))
        namespaces = term.get("namespaces") or [pod["metadata"]["namespace"]]
        if any(e.namespace in namespaces and matches(e.labels) for e in there):
            return False
    return True


def _room(entry: Entry, there: list[Entry], node: NodeView) -> tuple[str, float]:
    allocatable = node.allocatable
    if "pods" in allocatable and len(there) + 1 > allocatable["pods"] // 1000:
        return "Too many pods", 0.0
    load = len(there) / 1000
    for name, amount in entry.pod.requests:
        used = sum(dict(e.pod.requests).get(name, 0) for e in there)
        # A node that doesn't tell its size is taken to have room, save for devices.
        if name not in allocatable and name in ("cpu", "memory", "ephemeral-storage"):
            continue
        have = allocatable.get(name, 0)
        if used + amount > have:
            return f"Insufficient {name}", 0.0
        load = max(load, (used + amount) / have if have else 0.0)
    return "", load
