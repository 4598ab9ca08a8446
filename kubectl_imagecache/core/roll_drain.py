"""How one pool's pods are moved to another: cordon, gate, evict, node by node; shared by both directions of a roll."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from kubectl_imagecache.core.roll import (
    DRAINING,
    OFF,
    UNREADY,
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

AGAIN = "mend that and run the same command again, or go back with --rollback"


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
        return Mark(tuple(rest[:room]), DRAINING)
    mine = [pod for node in begun for pod in on[node.name] if not pod.leaving]
    now = tuple(pod for pod in mine if (b := view.blocked.get(pod.uid)) is None or b.again <= view.now)
    forced = tuple(pod for pod in mine if _may_be_forced(plan, view, pod))
    if forced:
        return Force(forced)
    late = [node for node in begun if over(plan, view.now, moment(node.marks[DRAINING]), plan.drain_timeout_s)]
    if late:
        left = on[late[0].name]
        held = next((view.blocked[pod.uid].why for pod in left if pod.uid in view.blocked), "it is slow to end")
        return Stop(f"{late[0].name} is not empty after {plan.drain_timeout_s:g} s: {left[0]}: {held}", AGAIN)
    if now:
        return Evict(now)
    if mine:
        budget = view.blocked[mine[0].uid]
        since = (view.now - budget.since).total_seconds()
        return Wait(f"{len(mine)} pods are kept by budgets, {mine[0]} for {since:.0f} s: {budget.why}")
    return Wait(f"{sum(len(on[node.name]) for node in begun)} evicted pods are ending")


def _may_be_forced(plan: RollPlan, view: RollView, pod: RollPod) -> bool:
    held = view.blocked.get(pod.uid)
    return plan.force_after_s is not None and held is not None and over(plan, view.now, held.since, plan.force_after_s)


def gate(plan: RollPlan, view: RollView, source: RollPool, target: RollPool) -> Step | None:
    """Whether replacements made since the roll began are Ready."""
    origin = next((pool.origin for pool in (source, target) if pool.origin and pool.origin.pool == plan.pool), None)
    began = origin.started if origin else None
    excused = {uid for node in nodes_of(view, source) for uid in node.marks.get(UNREADY, "").split(",") if uid}
    # Of a roll in batches, what is evicted may go to old nodes, too, as long as they are open.
    stays = [node for node in nodes_of(view, source) if not node.cordoned]
    there = {node.name for node in [*nodes_of(view, target), *stays]}
    sick = [
        pod
        for pod in view.pods
        if not (pod.stays or pod.leaving or pod.ready or pod.owner_uid in excused)
        and (pod.node in there or (not pod.node and pod.selects_pool in ("", source.name, target.name)))
        and (began is None or pod.created is None or pod.created >= began)
    ]
    if not sick:
        return None
    for pod in sick:
        if pod.trouble:
            return Stop(f"{pod} on {pod.node} does not start: {pod.trouble}", AGAIN)
        if over(plan, view.now, pod.created, plan.gate_timeout_s):
            state = f"not Ready on {pod.node}" if pod.node else "Pending"
            return Stop(f"{pod} is still {state} after {plan.gate_timeout_s:g} s", AGAIN)
    return Wait(f"{len(sick)} pods that moved are not Ready yet, such as {sick[0]}")


def nodes_of(view: RollView, pool: RollPool) -> list[RollNode]:
    """The nodes of POOL."""
    return [node for node in view.nodes if node.pool == pool.name]


def workload(view: RollView, pool: RollPool) -> list[RollPod]:
    """Pods on POOL's nodes that must not go down with them."""
    names = {node.name for node in nodes_of(view, pool)}
    return [pod for pod in view.pods if pod.node in names and not pod.stays]


def unready(view: RollView, nodes: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Node -> UIDs of the controllers of pods there that are not Ready."""
    found: dict[str, set[str]] = {}
    for pod in view.pods:
        if pod.node in nodes and not (pod.ready or pod.stays or pod.leaving) and pod.owner_uid:
            found.setdefault(pod.node, set()).add(pod.owner_uid)
    return {node: tuple(sorted(uids)) for node, uids in found.items()}


def kept(plan: RollPlan, pod: RollPod) -> tuple[str, str] | None:
    """Why POD is not evicted, and the check by which that is overruled; None if it may be."""
    if not pod.owner_kind and "unmanaged-pods" not in plan.allow:
        return "has no controller: nobody would make it again", "unmanaged-pods"
    if pod.guarded and "safe-to-evict" not in plan.allow:
        return "is annotated safe-to-evict=false", "safe-to-evict"
    return None


def wait_for(plan: RollPlan, view: RollView, why: str) -> Step:
    """Wait for pools or nodes, for as long as PLAN lets one such wait last."""
    if over(plan, view.now, view.waiting, plan.ready_timeout_s):
        return Stop(f"after {plan.ready_timeout_s:g} s, {why}", AGAIN)
    return Wait(why, 10, limited=True)


def over(plan: RollPlan, now: datetime, since: datetime | None, limit_s: float) -> bool:
    """Whether LIMIT_S have passed; what was there before this run counts from the run's beginning."""
    if plan.began is None or since is None:
        return False
    return now - max(since, plan.began) > timedelta(seconds=limit_s)


def moment(text: str) -> datetime | None:
    """The time that a mark's value is; None if it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None
