"""What every decision about a roll asks: which nodes, whose pods, how late it is."""

from __future__ import annotations

from datetime import datetime, timedelta

from kubectl_imagecache.core.roll import RollNode, RollPlan, RollPod, RollPool, RollView, Step, Stop, Wait

AGAIN = "mend that and run the same command again, or go back with --rollback"

LABELLED_WITHIN_S = 180.0
"""So long a Ready node may lack its disk's label. No kubelet may set a node-restriction label, so GKE adds it later
(https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction)."""


def nodes_of(view: RollView, pool: RollPool) -> list[RollNode]:
    """The nodes of POOL."""
    return [node for node in view.nodes if node.pool == pool.name]


def workload(view: RollView, pool: RollPool) -> list[RollPod]:
    """Pods on POOL's nodes that must not go down with them."""
    names = {node.name for node in nodes_of(view, pool)}
    return [pod for pod in view.pods if pod.node in names and not pod.stays]


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


def may_be_labelled_yet(node: RollNode, now: datetime) -> bool:
    """Whether NODE is so new that its disk's label may be on its way."""
    return node.created is not None and (now - node.created).total_seconds() < LABELLED_WITHIN_S


def moment(text: str) -> datetime | None:
    """The time that a mark's value is; None if it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None
