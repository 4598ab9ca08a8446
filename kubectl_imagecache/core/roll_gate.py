"""Whether pods run again where they were moved to, and how those are told from all others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from kubectl_imagecache.core.roll import RollNode, RollPlan, RollPod, RollPool, RollView, Step, Stop, Wait
from kubectl_imagecache.core.roll_look import AGAIN, nodes_of, over
from kubectl_imagecache.core.roll_marks import MOVED, UNREADY

MOST_FAMILIES = 15_000
"""In one mark: Kubernetes lets all annotations of an object have 256 KiB."""


def gate(plan: RollPlan, view: RollView, source: RollPool, target: RollPool) -> Step | None:
    """Whether the pods that replace those moved from SOURCE are Ready, wherever they are."""
    sick = _sick(plan, view, source, target)
    moved = _families(view.nodes, MOVED) if sick else frozenset()
    sick = [pod for pod in sick if view.forgets or pod.family in moved]
    for pod in sick:
        why = _trouble(plan, view, pod)
        if why:
            return Stop(f"{pod} {why}", AGAIN)
    return Wait(f"{len(sick)} pods that moved are not Ready yet, such as {sick[0]}") if sick else None


def bystanders(plan: RollPlan, view: RollView, source: RollPool, target: RollPool) -> list[tuple[RollPod, str]]:
    """Pods that wait, or fail on the nodes of the roll, with what they have, but that it has not moved."""
    ours = {node.name for node in view.nodes}
    near = [pod for pod in _sick(plan, view, source, target) if not pod.node or pod.node in ours]
    found = [(pod, why) for pod in near if (why := _trouble(plan, view, pod))]
    moved = _families(view.nodes, MOVED) if found else frozenset()
    return [(pod, why) for pod, why in found if pod.family not in moved]


def _sick(plan: RollPlan, view: RollView, source: RollPool, target: RollPool) -> list[RollPod]:
    """Pods made since the roll began that are not Ready: waiting for a node, or on one that is not being emptied."""
    began = _began(plan, view, source, target)
    excused = _families(nodes_of(view, source), UNREADY)
    shut = {node.name for node in nodes_of(view, source) if node.cordoned}
    ours = {node.name for node in view.nodes}
    return [
        pod
        for pod in view.pods
        if not (pod.ready or pod.stays or pod.leaving)
        and (pod.node or pod.selects_pool in ("", source.name, target.name))
        and pod.node not in shut
        and (not pod.node or not view.forgets or pod.node in ours)
        and (began is None or pod.created is None or pod.created >= began)
        and pod.family not in excused
    ]


def _began(plan: RollPlan, view: RollView, source: RollPool, target: RollPool) -> datetime | None:
    new = next((pool for pool in (source, target) if pool.origin and pool.origin.pool == plan.pool), None)
    if new is None or new.origin is None:
        return None
    # Nodes and pods have the cluster's time; whoever began the roll may have had a clock that is ahead of it.
    made = (node.created for node in nodes_of(view, new) if node.created is not None)
    return min((new.origin.started, *made))


def _trouble(plan: RollPlan, view: RollView, pod: RollPod) -> str:
    """Why POD is not waited for any longer; empty if it is."""
    if pod.trouble:
        return f"on {pod.node} does not start: {pod.trouble}"
    if over(plan, view.now, pod.created, plan.gate_timeout_s):
        state = f"not Ready on {pod.node}" if pod.node else "Pending"
        return f"is still {state} after {plan.gate_timeout_s:g} s"
    return ""


def unready(view: RollView, nodes: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Node -> families of the pods there that are not Ready."""
    found: dict[str, set[str]] = {}
    for pod in view.pods:
        if pod.node in nodes and not (pod.ready or pod.stays or pod.leaving) and pod.owner_uid:
            found.setdefault(pod.node, set()).add(pod.family)
    return {node: tuple(sorted(families)) for node, families in found.items()}


def remembering(node: RollNode, pods: Iterable[RollPod]) -> dict[str, str]:
    """The mark of NODE by which PODS, and what it remembers already, are known as moved; empty if it has that."""
    return noting(node, {pod.family for pod in pods})


def noting(node: RollNode, families: Iterable[str]) -> dict[str, str]:
    """As `remembering`, of FAMILIES."""
    before = _families([node], MOVED)
    more = sorted(before.union(families))[:MOST_FAMILIES]
    return {} if before.issuperset(more) else {MOVED: ",".join(more)}


def handed_on(nodes: Sequence[RollNode], heirs: Sequence[RollNode]) -> dict[str, dict[str, str]]:
    """What one of HEIRS is to remember of NODES, which go; empty if there is nothing, or nobody."""
    heir = min(heirs, key=lambda node: node.name, default=None)
    found = noting(heir, _families(nodes, MOVED)) if heir is not None else {}
    return {heir.name: found} if heir is not None and found else {}


def _families(nodes: Iterable[RollNode], mark: str) -> frozenset[str]:
    return frozenset(one for node in nodes for one in node.marks.get(mark, "").split(",") if one)
