"""How one pool's pods are moved to another: cordon, gate, evict, node by node; shared by both directions of a roll."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kubectl_imagecache.core.roll import (
    OFF,
    Cordon,
    Evict,
    Force,
    Mark,
    RollNode,
    RollPlan,
    RollPod,
    RollPool,
    RollView,
    Step,
    Stop,
    Wait,
)
from kubectl_imagecache.core.roll_gate import gate, remembering, unready
from kubectl_imagecache.core.roll_look import AGAIN, moment, nodes_of, over, workload
from kubectl_imagecache.core.roll_marks import DRAINING, MOVED


def drain(plan: RollPlan, view: RollView, source: RollPool, target: RollPool) -> Step | None:
    """The next step in emptying SOURCE onto TARGET; None once no pod is left that must not go with its node.

    SOURCE and TARGET may be any two groups of VIEW's nodes, told apart by RollNode.pool.
    """
    nodes = nodes_of(view, source)
    return cordon(view, target, [node for node in nodes if not node.cordoned]) or move(
        plan, view, source, target, nodes
    )


def cordon(view: RollView, target: RollPool, nodes: Sequence[RollNode]) -> Step | None:
    """Cordon NODES, if there are any."""
    if not nodes:
        return None
    names = tuple(node.name for node in nodes)
    return Cordon(names, unready(view, frozenset(names)), target.origin.scaling if target.origin else OFF)


def move(plan: RollPlan, view: RollView, source: RollPool, target: RollPool, nodes: Sequence[RollNode]) -> Step | None:
    """The next step in emptying those cordoned NODES of SOURCE; None once they hold no pod that must not go with them.

    What moved before must be Ready first.
    """
    names = {node.name for node in nodes}
    pods = [pod for pod in workload(view, source) if pod.node in names]
    sick = gate(plan, view, source, target) if plan.gate else None
    if sick is not None or not pods:
        return sick
    for pod in pods:
        refusal = None if pod.leaving else kept(plan, pod)
        if refusal is not None:
            why, check = refusal
            return Stop(f"{pod} on {pod.node} {why}", f"move it yourself, or overrule with --allow {check}")
    return empty(plan, view, nodes, pods)


def empty(plan: RollPlan, view: RollView, nodes: Sequence[RollNode], pods: Sequence[RollPod]) -> Step:
    """The next step in evicting PODS from NODES, as many nodes at once as PLAN allows."""
    on: dict[str, list[RollPod]] = {}
    for pod in pods:
        on.setdefault(pod.node, []).append(pod)
    begun = [node for node in nodes if DRAINING in node.marks and node.name in on]
    room = plan.max_unavailable - len(begun)
    # The fewest pods first: a node that is soon empty is soon one that can't be hurt any more.
    rest = sorted((n.name for n in nodes if DRAINING not in n.marks and n.name in on), key=lambda n: (len(on[n]), n))
    if room > 0 and rest:
        return Mark(tuple(rest[:room]), DRAINING, _whose(nodes, on, rest[:room]))
    # A pod may have come after its node was marked.
    late_comers = _whose(nodes, on, [node.name for node in begun])
    if late_comers:
        return Mark(tuple(late_comers), MOVED, late_comers)
    mine = [pod for node in begun for pod in on[node.name] if not pod.leaving]
    now = tuple(pod for pod in mine if (b := view.blocked.get(pod.uid)) is None or b.again <= view.now)
    forced = tuple(pod for pod in mine if _may_be_forced(plan, view, pod))
    if forced:
        return Force(forced)
    late = [node for node in begun if over(plan, view.now, moment(node.marks[DRAINING]), plan.drain_timeout_s)]
    if late:
        left = sorted(on[late[0].name], key=lambda pod: pod.uid not in view.blocked)
        held = view.blocked[left[0].uid].why if left[0].uid in view.blocked else _slow(late[0], left[0])
        return Stop(f"{late[0].name} is not empty after {plan.drain_timeout_s:g} s: {left[0]}: {held}", AGAIN)
    if now:
        return Evict(now)
    if mine:
        budget = view.blocked[mine[0].uid]
        since = (view.now - budget.since).total_seconds()
        return Wait(f"{len(mine)} pods are kept by budgets, {mine[0]} for {since:.0f} s: {budget.why}")
    return Wait(f"{sum(len(on[node.name]) for node in begun)} evicted pods are ending")


def _whose(
    nodes: Sequence[RollNode], pods: Mapping[str, Sequence[RollPod]], names: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Those of NODES named NAMES whose marks don't say yet whose PODS are there -> the mark that does."""
    found = {node.name: remembering(node, pods[node.name]) for node in nodes if node.name in names}
    return {name: marks for name, marks in found.items() if marks}


def _slow(node: RollNode, pod: RollPod) -> str:
    """Why POD, evicted, is still on NODE."""
    if not node.ready:
        return "its node is not Ready, so no kubelet ends it: delete the node's VM, and GKE makes another"
    if pod.held_by:
        return f"its finalizers keep it: {', '.join(pod.held_by)}"
    return "it is slow to end"


def _may_be_forced(plan: RollPlan, view: RollView, pod: RollPod) -> bool:
    held = view.blocked.get(pod.uid)
    return plan.force_after_s is not None and held is not None and over(plan, view.now, held.since, plan.force_after_s)


def kept(plan: RollPlan, pod: RollPod) -> tuple[str, str] | None:
    """Why POD is not evicted, and the check by which that is overruled; None if it may be."""
    if not pod.owner_kind and "unmanaged-pods" not in plan.allow:
        return "has no controller: nobody would make it again", "unmanaged-pods"
    if pod.guarded and "safe-to-evict" not in plan.allow:
        return "is annotated safe-to-evict=false", "safe-to-evict"
    return None
