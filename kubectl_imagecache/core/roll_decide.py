"""The next step of a roll, decided from what is there now and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from kubectl_imagecache.core.pins import Pin
from kubectl_imagecache.core.pools import POOL_LABEL, DiskImageRef
from kubectl_imagecache.core.roll import (
    OFF,
    Canary,
    Create,
    Delete,
    Done,
    Forget,
    Mark,
    Repin,
    RollNode,
    RollPlan,
    RollPool,
    RollView,
    Scale,
    Scaling,
    Step,
    Stop,
    Sweep,
    Uncordon,
    Wait,
    family,
)
from kubectl_imagecache.core.roll_batches import batch, is_leaving
from kubectl_imagecache.core.roll_drain import drain
from kubectl_imagecache.core.roll_gate import noting
from kubectl_imagecache.core.roll_look import may_be_labelled_yet, moment, nodes_of, wait_for, workload
from kubectl_imagecache.core.roll_marks import BACK, CANARY, CORDONED, MOVED, PROVEN, SCALING, SOAKING, SWEPT
from kubectl_imagecache.core.roll_pool import is_held, packed, unpacked
from kubectl_imagecache.core.roll_timing import in_time

BUSY = frozenset({"PROVISIONING", "RECONCILING"})
FAILED = frozenset({"ERROR", "RUNNING_WITH_ERROR"})


def decide(plan: RollPlan, view: RollView) -> Step:
    """What to do next; raises nothing: what can't go on is a Stop."""
    return in_time(plan, view.now, lambda timed: _decide(timed, view))


def goes_back(plan: RollPlan, view: RollView) -> bool:
    """Whether the roll is on its way back: asked for now, or begun by an earlier run.

    The new pool is deleted only on the way back, so one that is going says so too.
    """
    if view.new is None:
        return plan.back
    marked = any(BACK in node.marks for node in nodes_of(view, view.new))
    return plan.back or marked or (view.new.status == "STOPPING" and view.old is not None)


def _decide(plan: RollPlan, view: RollView) -> Step:
    old, new = view.old, view.new
    if old is None and new is None:
        return Stop(f"there is no node pool {plan.pool}", "see the pools with: kubectl imagecache status")
    if old is None:
        assert new is not None
        if plan.back:
            return Stop(f"{plan.pool} is deleted already: there is nothing to go back to", f"roll {new.name} instead")
        # Somebody may have deleted it before its successor had its limits.
        return _clash(plan, new) or _unheld(new) or Done(f"{plan.pool} is replaced by {new.name}")
    if new is None:
        left = _left_behind(view, old)
        if left is not None:
            return left
        if plan.back:
            return Done(f"{old.name} is as it was", back=True)
        if old.status in BUSY:
            return wait_for(plan, view, f"{old.name} is {old.status}")
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


def _left_behind(view: RollView, old: RollPool) -> Step | None:
    """What undoes a roll whose new pool somebody else has deleted: pods wait, and only the old nodes can take them."""
    ours = [node for node in nodes_of(view, old) if CORDONED in node.marks or SCALING in node.marks]
    limits = next((found for node in ours if (found := unpacked(node.marks.get(SCALING, "")))), OFF)
    if not ours:
        return None
    return _restore(old, limits) or Uncordon(tuple(node.name for node in ours))


def _restore(pool: RollPool, limits: Scaling) -> Step | None:
    # Where GKE has its own word for the default policy, no call of ours would ever make the two equal.
    if limits.enabled and replace(pool.scaling, policy=limits.policy) != limits:
        return Scale(pool.name, limits)
    return None


def _unheld(new: RollPool) -> Step | None:
    """What gives NEW the limits that the old pool had, unless somebody has given it others."""
    if new.origin is None or not is_held(new.scaling, new.origin, new.zones):
        return None
    return _restore(new, new.origin.scaling)


def _forward(plan: RollPlan, view: RollView, old: RollPool, new: RollPool) -> Step:
    for pool in (new, old):
        if pool.status in BUSY:
            return wait_for(plan, view, f"{pool.name} is {pool.status}")
    first = _clash(plan, new) or _unproven(plan, view, old, new) or _canary(plan, view, old, new)
    if first is not None:
        return first
    if old.scaling.enabled:
        return _noted_limits(view, old) or Scale(old.name, OFF)
    moves = repin(plan, view, old, new)
    if moves is None and new.origin is not None and new.origin.surge:
        moves = batch(plan, view, old, new, new.origin)
    elif moves is None:
        moves = drain(plan, view, old, new)
    return moves or _unheld(new) or _farewell(plan, view, old) or _forgotten(view, new) or Delete(old.name)


def _forgotten(view: RollView, pool: RollPool) -> Step | None:
    """What takes away that POOL's nodes remember others that are gone."""
    heirs = tuple(node.name for node in nodes_of(view, pool) if MOVED in node.marks)
    return Forget(heirs) if heirs else None


def _noted_limits(view: RollView, old: RollPool) -> Step | None:
    """What writes OLD's limits down where they are found should the new pool, which knows them, be deleted."""
    nodes, said = nodes_of(view, old), packed(old.scaling)
    # A node that others have cordoned is not ours to open again.
    ours = min((node.name for node in nodes if not node.cordoned), default="")
    if not ours or any(node.marks.get(SCALING) == said for node in nodes):
        return None
    return Mark((ours,), SCALING, {ours: {SCALING: said}})


def _backward(plan: RollPlan, view: RollView, old: RollPool, new: RollPool) -> Step:
    if new.status in BUSY | {"STOPPING"}:
        return Wait(f"{new.name} is {new.status}", 10)
    unmarked = tuple(node.name for node in nodes_of(view, new) if BACK not in node.marks)
    if unmarked:
        return Mark(unmarked, BACK)
    # A node whose deletion was asked for may yet go: nothing must be scheduled there.
    marked = [node for node in nodes_of(view, old) if CORDONED in node.marks or SCALING in node.marks]
    ours = [node for node in marked if not is_leaving(view, node)]
    if ours:
        return Uncordon(tuple(node.name for node in ours))
    if old.status in BUSY:
        return wait_for(plan, view, f"{old.name} is {old.status}")
    limits = _restore(old, new.origin.scaling if new.origin else OFF)
    in_batches = new.origin is not None and new.origin.surge > 0
    if limits is not None and not in_batches:
        return limits
    if new.scaling.enabled:
        return Scale(new.name, OFF)
    # Whoever asks to go back wants what worked before: pins that this roll changed are changed back unasked.
    pins = repin(plan, view, new, old, asked=True)
    if new.origin is not None and in_batches:
        moves = pins or batch(plan, view, new, old, new.origin)
        return moves or limits or _forgotten(view, old) or Delete(new.name)
    return pins or drain(plan, view, new, old) or Delete(new.name)


def _canary(plan: RollPlan, view: RollView, old: RollPool, new: RollPool) -> Step | None:
    """What is still to be done to see a pod start fast on a new node, and to tidy up after it."""
    nodes = nodes_of(view, new)
    said = {node.name: tuple(node.marks[CANARY].split(" ", 1)) for node in nodes if CANARY in node.marks}
    proven = any(words in ((PROVEN, plan.canary), (SWEPT, plan.canary)) for words in said.values())
    begun = any(CORDONED in node.marks for node in nodes_of(view, old))
    if plan.canary and not proven and not begun:
        ready = sorted((node.name in said, node.name) for node in nodes if node.ready and not node.cordoned)
        if not ready and not new.size:
            return Stop(f"{new.name} has no node to run a pod of {plan.canary} on", "leave --canary out")
        if not ready:
            return wait_for(plan, view, f"{new.name} has no Ready node to run a pod of {plan.canary} on")
        return Canary(ready[0][1], plan.canary)
    left = {
        name: f"{SWEPT} {words[-1]}" if words[0] == PROVEN else "" for name, words in said.items() if words[0] != SWEPT
    }
    return Sweep(left) if left else None


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
    nodes = nodes_of(view, new)
    bare = [node for node in nodes if node.ready and not set(new.disks) <= _shown(node, new)]
    for node in bare:
        if not may_be_labelled_yet(node, view.now):
            why = f"{node.name} of {new.name} is Ready and does not have the disk's label"
            return Stop(why, "see the node, or --rollback")
    if bare:
        return wait_for(plan, view, f"{bare[0].name} of {new.name} is Ready and does not have the disk's label yet")
    begun = any(CORDONED in node.marks for node in nodes_of(view, old))
    ready = sum(node.ready for node in nodes)
    if not begun and (len(nodes) < new.size or ready < len(nodes)):
        return wait_for(plan, view, f"{ready} of {max(new.size, len(nodes))} nodes of {new.name} are Ready")
    # An autoscaler that went to zero makes room once pods wait; without one nothing would.
    if not ready and not new.scaling.enabled and workload(view, old):
        return wait_for(plan, view, f"{new.name} has no Ready node")
    return None


def _shown(node: RollNode, new: RollPool) -> frozenset[DiskImageRef]:
    return node.disks | {disk for disk in new.disks if not shown_by_label(disk)}


def shown_by_label(disk: DiskImageRef) -> bool:
    """Whether nodes can show that they have DISK."""
    # A label's name part has 63 characters, 24 of them GKE's, and no value holds a colon: such a disk shows nowhere.
    return len(disk.name) <= 39 and ":" not in disk.project


def repin(plan: RollPlan, view: RollView, source: RollPool, target: RollPool, asked: bool = False) -> Step | None:
    """What is to be done about workloads that select SOURCE and so could not go to TARGET; None: nothing."""
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
    return Repin(pins, target.name, target.disks[0] if target.disks else None, _rolled_out(view, source, pins))


def _rolled_out(view: RollView, source: RollPool, pins: Iterable[Pin]) -> dict[str, dict[str, str]]:
    """The mark by which pods that PINS' controllers are about to replace are known as moved by the roll."""
    node = min(nodes_of(view, source), key=lambda node: node.name, default=None)
    kinds = {"Deployment": "ReplicaSet"}
    marks = noting(node, {family(p.namespace, kinds.get(p.kind, p.kind), p.name) for p in pins}) if node else {}
    return {node.name: marks} if node and marks else {}


def selects(pin: Pin, source: RollPool, target: RollPool) -> bool:
    """Whether PIN asks for what SOURCE has and TARGET has not."""
    if pin.key == POOL_LABEL:
        return pin.value == source.name
    kept = {disk.name for disk in target.disks}
    return any(pin.key.endswith(f"gke-secondary-boot-disk-{d.name}") and d.name not in kept for d in source.disks)


def _farewell(plan: RollPlan, view: RollView, old: RollPool) -> Step | None:
    """What stands between an empty old pool and its deletion."""
    if plan.keep_old:
        return Done(f"{old.name} is empty and kept, cordoned, as --keep-old asks")
    nodes = nodes_of(view, old)
    if not plan.soak_s or not nodes:
        return None
    since = [moment(node.marks[SOAKING]) for node in nodes if SOAKING in node.marks]
    known = [moment for moment in since if moment is not None]
    if not known:
        return Mark(tuple(node.name for node in nodes), SOAKING)
    left = plan.soak_s - (view.now - min(known)).total_seconds()
    return Wait(f"{old.name} stands by, empty, for {left:.0f} s more", min(left, 30)) if left > 0 else None
