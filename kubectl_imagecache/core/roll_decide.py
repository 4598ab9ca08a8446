"""The next step of a roll, decided from what is there now and from nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.roll import (
    BACK,
    CORDONED,
    DRAINING,
    OFF,
    POOL_LABEL,
    SOAKING,
    UNREADY,
    Cordon,
    Create,
    Delete,
    Done,
    Evict,
    Mark,
    Pin,
    Repin,
    RollNode,
    RollPlan,
    RollPod,
    RollPool,
    RollView,
    Scale,
    Step,
    Stop,
    Uncordon,
    Wait,
)

BUSY = frozenset({"PROVISIONING", "RECONCILING"})
FAILED = frozenset({"ERROR", "RUNNING_WITH_ERROR"})
AGAIN = "mend that and run the same command again, or go back with --rollback"


def decide(plan: RollPlan, view: RollView) -> Step:
    """What to do next; raises nothing: what can't go on is a Stop."""
    step = _decide(plan, view)
    ends = isinstance(step, Wait | Done | Stop)
    if plan.not_after is not None and view.now >= plan.not_after and not ends:
        return Stop(
            f"no step is begun after {plan.not_after.isoformat()}", "run the same command again in the next window"
        )
    return step


def goes_back(plan: RollPlan, view: RollView) -> bool:
    """Whether the roll is on its way back: asked for now, or begun by an earlier run.

    The new pool is deleted only on the way back, so one that is going says so too.
    """
    if view.new is None:
        return plan.back
    marked = any(BACK in node.marks for node in _of(view, view.new))
    return plan.back or marked or (view.new.status == "STOPPING" and view.old is not None)


def _decide(plan: RollPlan, view: RollView) -> Step:
    old, new = view.old, view.new
    if old is None and new is None:
        return Stop(f"there is no node pool {plan.pool}", "see the pools with: kubectl imagecache status")
    if old is None:
        assert new is not None
        if plan.back:
            return Stop(f"{plan.pool} is deleted already: there is nothing to go back to", f"roll {new.name} instead")
        return _clash(plan, new) or Done(f"{plan.pool} is replaced by {new.name}")
    if new is None:
        if plan.back:
            return Done(f"{old.name} is as it was", back=True)
        if old.status in BUSY:
            return _wait_for(plan, view, f"{old.name} is {old.status}")
        if plan.disk is None:
            return Stop(f"no roll of {old.name} is under way", "begin one with --disk-image IMAGE")
        return Create()
    if old.status == "STOPPING":
        if plan.back:
            return Stop(
                f"{old.name} is being deleted: it is too late to go back", "run the same command without --rollback"
            )
        return Wait(f"{old.name} is being deleted", 10)
    return _backward(plan, view, old, new) if goes_back(plan, view) else _forward(plan, view, old, new)


def _forward(plan: RollPlan, view: RollView, old: RollPool, new: RollPool) -> Step:
    for pool in (new, old):
        if pool.status in BUSY:
            return _wait_for(plan, view, f"{pool.name} is {pool.status}")
    first = _clash(plan, new) or _unproven(plan, view, old, new)
    if first is not None:
        return first
    if old.scaling.enabled:
        return Scale(old.name, OFF)
    return _repin(plan, view, old, new) or drain(plan, view, old, new) or _farewell(plan, view, old) or Delete(old.name)


def _backward(plan: RollPlan, view: RollView, old: RollPool, new: RollPool) -> Step:
    if new.status in BUSY | {"STOPPING"}:
        return Wait(f"{new.name} is {new.status}", 10)
    unmarked = tuple(node.name for node in _of(view, new) if BACK not in node.marks)
    if unmarked:
        return Mark(unmarked, BACK)
    ours = tuple(node.name for node in _of(view, old) if CORDONED in node.marks)
    if ours:
        return Uncordon(ours)
    before = new.origin.scaling if new.origin else OFF
    # Where GKE has its own word for the default policy, no call of ours would ever make the two equal.
    if before.enabled and replace(old.scaling, policy=before.policy) != before:
        return Scale(old.name, before)
    if new.scaling.enabled:
        return Scale(new.name, OFF)
    # Whoever asks to go back wants what worked before: pins that this roll changed are changed back unasked.
    return _repin(plan, view, new, old, asked=True) or drain(plan, view, new, old) or Delete(new.name)


def _clash(plan: RollPlan, new: RollPool) -> Step | None:
    if plan.disk is None or plan.back or plan.disk in new.disks:
        return None
    has = ", ".join(disk.name for disk in new.disks) or "no cache disk"
    return Stop(
        f"{new.name}, made by a roll of {plan.pool}, has {has} and not {plan.disk.name}",
        f"finish it (--disk-image {has}) or take it back (--rollback) first, or roll {new.name}",
    )


def _unproven(plan: RollPlan, view: RollView, old: RollPool, new: RollPool) -> Step | None:
    """What is still to be seen of the new pool before the old one is touched; None if it is proven."""
    if new.status in FAILED:
        said = f": {new.message}" if new.message else ""
        return Stop(
            f"{new.name} is in {new.status}{said}", "take it back with --rollback, mend the cause, and roll again"
        )
    nodes = _of(view, new)
    bare = [node.name for node in nodes if node.ready and not set(new.disks) <= _shown(node, new)]
    if bare:
        return Stop(
            f"{bare[0]} of {new.name} is Ready and does not have the disk's label", "see the node, or --rollback"
        )
    begun = any(CORDONED in node.marks for node in _of(view, old))
    ready = sum(node.ready for node in nodes)
    if not begun and (len(nodes) < new.size or ready < len(nodes)):
        return _wait_for(plan, view, f"{ready} of {max(new.size, len(nodes))} nodes of {new.name} are Ready")
    # An autoscaler that went to zero makes room once pods wait; without one nothing would.
    if not ready and not new.scaling.enabled and _workload(view, old):
        return _wait_for(plan, view, f"{new.name} has no Ready node")
    return None


def _shown(node: RollNode, new: RollPool) -> frozenset[DiskImageRef]:
    # A label's name part has 63 characters, 24 of them GKE's, and no value holds a colon: such a disk shows nowhere.
    return node.disks | {disk for disk in new.disks if len(disk.name) > 39 or ":" in disk.project}


def _repin(plan: RollPlan, view: RollView, source: RollPool, target: RollPool, asked: bool = False) -> Step | None:
    pins = tuple(pin for pin in view.pins if selects(pin, source, target))
    if not pins:
        return None
    stuck = [pin for pin in pins if not pin.mendable]
    if stuck and "selectors" not in plan.allow:
        return Stop(
            f"{stuck[0]} selects {source.name} by {stuck[0].by}, and --repin can't change that",
            f"let it select {target.name} (or neither), and run again",
        )
    pins = tuple(pin for pin in pins if pin.mendable)
    if not pins or (not (plan.repin or asked) and "selectors" in plan.allow):
        return None
    if not (plan.repin or asked):
        return Stop(f"{pins[0]} selects {source.name}: its pods would stay Pending", "let it be changed with --repin")
    return Repin(pins, target.name, target.disks[0] if target.disks else None)


def selects(pin: Pin, source: RollPool, target: RollPool) -> bool:
    """Whether PIN asks for what SOURCE has and TARGET has not."""
    if pin.key == POOL_LABEL:
        return pin.value == source.name
    kept = {disk.name for disk in target.disks}
    return any(pin.key.endswith(f"gke-secondary-boot-disk-{d.name}") and d.name not in kept for d in source.disks)


def drain(plan: RollPlan, view: RollView, source: RollPool, target: RollPool) -> Step | None:
    """The next step in emptying SOURCE onto TARGET; None once no pod is left that must not go with its node.

    SOURCE and TARGET may be any two groups of VIEW's nodes, told apart by RollNode.pool.
    """
    nodes = _of(view, source)
    open_nodes = tuple(node.name for node in nodes if not node.cordoned)
    if open_nodes:
        return Cordon(open_nodes, _unready(view, open_nodes))
    pods = _workload(view, source)
    if plan.gate:
        gate = _gate(plan, view, source, target)
        if gate is not None:
            return gate
    if not pods:
        return None
    kept = next((pod for pod in pods if not pod.leaving and _kept(plan, pod)), None)
    if kept is not None:
        why, check = _kept(plan, kept) or ("", "")
        return Stop(f"{kept} on {kept.node} {why}", f"move it yourself, or overrule with --allow {check}")
    return _empty(plan, view, nodes, pods)


def _empty(plan: RollPlan, view: RollView, nodes: list[RollNode], pods: list[RollPod]) -> Step:
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
    late = [node for node in begun if _over(plan, view.now, _time(node.marks[DRAINING]), plan.drain_timeout_s)]
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


def _gate(plan: RollPlan, view: RollView, source: RollPool, target: RollPool) -> Step | None:
    """Whether replacements made since the roll began are Ready."""
    origin = next((pool.origin for pool in (source, target) if pool.origin and pool.origin.pool == plan.pool), None)
    began = origin.started if origin else None
    excused = {uid for node in _of(view, source) for uid in node.marks.get(UNREADY, "").split(",")}
    on_target = {node.name for node in _of(view, target)}
    sick = [
        pod
        for pod in view.pods
        if not (pod.stays or pod.leaving or pod.ready or pod.owner_uid in excused)
        and (pod.node in on_target or (not pod.node and pod.selects_pool in ("", source.name, target.name)))
        and (began is None or pod.created is None or pod.created >= began)
    ]
    if not sick:
        return None
    for pod in sick:
        if pod.trouble:
            return Stop(f"{pod} on {pod.node} does not start: {pod.trouble}", AGAIN)
        if _over(plan, view.now, pod.created, plan.gate_timeout_s):
            state = f"not Ready on {pod.node}" if pod.node else "Pending"
            return Stop(f"{pod} is still {state} after {plan.gate_timeout_s:g} s", AGAIN)
    return Wait(f"{len(sick)} pods that moved are not Ready yet, such as {sick[0]}")


def _farewell(plan: RollPlan, view: RollView, old: RollPool) -> Step | None:
    """What stands between an empty old pool and its deletion."""
    if plan.keep_old:
        return Done(f"{old.name} is empty and kept, cordoned, as --keep-old asks")
    nodes = _of(view, old)
    if not plan.soak_s or not nodes:
        return None
    since = [_time(node.marks[SOAKING]) for node in nodes if SOAKING in node.marks]
    known = [moment for moment in since if moment is not None]
    if not known:
        return Mark(tuple(node.name for node in nodes), SOAKING)
    left = plan.soak_s - (view.now - min(known)).total_seconds()
    return Wait(f"{old.name} stands by, empty, for {left:.0f} s more", min(left, 30)) if left > 0 else None


def _of(view: RollView, pool: RollPool) -> list[RollNode]:
    return [node for node in view.nodes if node.pool == pool.name]


def _workload(view: RollView, pool: RollPool) -> list[RollPod]:
    """Pods on POOL's nodes that must not go down with them."""
    names = {node.name for node in _of(view, pool)}
    return [pod for pod in view.pods if pod.node in names and not pod.stays]


def _unready(view: RollView, nodes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for pod in view.pods:
        if pod.node in nodes and not (pod.ready or pod.stays or pod.leaving) and pod.owner_uid:
            found.setdefault(pod.node, set()).add(pod.owner_uid)
    return {node: tuple(sorted(uids)) for node, uids in found.items()}


def _kept(plan: RollPlan, pod: RollPod) -> tuple[str, str] | None:
    if not pod.owner_kind and "unmanaged-pods" not in plan.allow:
        return "has no controller: nobody would make it again", "unmanaged-pods"
    if pod.guarded and "safe-to-evict" not in plan.allow:
        return "is annotated safe-to-evict=false", "safe-to-evict"
    return None


def _wait_for(plan: RollPlan, view: RollView, why: str) -> Step:
    if _over(plan, view.now, plan.began, plan.ready_timeout_s):
        return Stop(f"after {plan.ready_timeout_s:g} s, {why}", AGAIN)
    return Wait(why, 10)


def _over(plan: RollPlan, now: datetime, since: datetime | None, limit_s: float) -> bool:
    """Whether LIMIT_S have passed; what was there before this run counts from the run's beginning."""
    if plan.began is None or since is None:
        return False
    return now - max(since, plan.began) > timedelta(seconds=limit_s)


def _time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
