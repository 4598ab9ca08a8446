"""The next step in rolling a ComputeClass: its rules first, then its old nodes, by the same rules as a pool's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from kubectl_imagecache.core import compute_class as classes
from kubectl_imagecache.core.pins import Pin
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.roll import (
    OFF,
    Allow,
    Blocked,
    ClassStep,
    Done,
    EditClass,
    Origin,
    RollNode,
    RollPlan,
    RollPod,
    RollPool,
    RollView,
    Step,
    Stop,
    Uncordon,
    Wait,
)
from kubectl_imagecache.core.roll_decide import repin, shown_by_label
from kubectl_imagecache.core.roll_drain import drain
from kubectl_imagecache.core.roll_gate import gate
from kubectl_imagecache.core.roll_look import may_be_labelled_yet, workload
from kubectl_imagecache.core.roll_marks import CORDONED
from kubectl_imagecache.core.roll_timing import in_time

MANAGER = "kubectl-imagecache"
"""Our field manager."""
MARK = "kubectl-imagecache/roll"
"""Annotation on the class, written in the same apply that changes its rules: a Change as JSON."""
AGAIN = "see it with: kubectl get computeclass"


@dataclass(frozen=True, slots=True)
class Change:
    """What the last roll did to a ComputeClass."""

    since: datetime
    """When its rules were changed."""
    former: tuple[tuple[dict[str, Any], ...], ...]
    """secondaryBootDisks of each rule before the roll, as they were written."""
    left: frozenset[DiskImageRef]
    """Cache disks that nodes are to lose; none: what they were is not known, or there were none."""
    to: frozenset[DiskImageRef]
    """Cache disks that the class has since."""
    back: bool = False
    """It went back to `former`."""
    began: datetime | None = None
    """Since when pods move: before `since` where this change goes on with, or back on, one that had not ended."""
    by_time: bool = False
    """Labels can't tell all nodes that are to go: so do those from before `since` that don't show the new disk."""


@dataclass(frozen=True, slots=True)
class ClassView:
    """Everything that a decision about a ComputeClass is made from."""

    now: datetime
    name: str
    found: Mapping[str, Any] | None
    """The ComputeClass as the API has it; None: there is none."""
    project: str
    """The cluster's."""
    nodes: tuple[RollNode, ...] = ()
    """Those that the class has."""
    pods: tuple[RollPod, ...] = ()
    pins: tuple[Pin, ...] = ()
    allowlists: tuple[Mapping[str, Any], ...] | None = None
    """GCPResourceAllowlists; None: the cluster knows no such thing."""
    blocked: Mapping[str, Blocked] = field(default_factory=dict)


def change_of(found: Mapping[str, Any]) -> Change | None:
    """What the class's annotation says; None if it is absent or makes no sense."""
    try:
        said = json.loads(str((found["metadata"].get("annotations") or {})[MARK]))
        since = datetime.fromisoformat(str(said["since"]))
        former = tuple(tuple(dict(disk) for disk in disks) for disks in said["former"])
        left, to = (
            frozenset(DiskImageRef(str(project), str(name)) for project, name in said[key]) for key in ("left", "to")
        )
        began = datetime.fromisoformat(str(said.get("began") or said["since"]))
        by_time = bool(said.get("byTime", not _told_by_label(left)))
        change = Change(since, former, left, to, bool(said.get("back")), began, by_time)
        return change if since.tzinfo and began.tzinfo else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def changed(view: ClassView, step: EditClass) -> dict[str, Any]:
    """What is to be applied so that STEP is done: our note, and the rules if they change or nobody else keeps them.

    A field that only we own and that an apply leaves out is taken away.
    """
    found = view.found or {}
    rules, before = classes.rules(found), change_of(found)
    former = tuple(tuple(classes.secondary_disks(rule)) for rule in rules)
    if step.disk is not None:
        made = classes.with_disk(rules, step.disk)
    else:
        former = before.former if before else former
        made = restored(rules, former)
    to, seen = _caches(made, view.project), frozenset(disk for node in view.nodes for disk in node.disks)
    # Nodes of a roll that was never finished go, too.
    unfinished = (before.left | before.to) & seen if before else frozenset()
    left = (_caches(rules, view.project) | unfinished) - to
    # Of nodes without any cache disk, those that a roll has not yet replaced are still to go.
    older = not _caches(rules, view.project) or (before is not None and before.by_time and bool(old_nodes(view)))
    change = Change(
        view.now,
        former,
        left,
        to,
        back=step.disk is None,
        began=_moving_since(view) or view.now,
        by_time=(older and bool(to)) or not _told_by_label(left),
    )
    spec = {} if made == rules and classes.owners_of_rules(found, MANAGER) else {"spec": {"priorities": made}}
    return {
        "apiVersion": classes.API,
        "kind": classes.KIND,
        "metadata": {"name": view.name, "annotations": {MARK: _packed(change)}},
        **spec,
    }


def restored(rules: list[dict[str, Any]], former: tuple[tuple[dict[str, Any], ...], ...]) -> list[dict[str, Any]]:
    """RULES with the secondary boot disks that they had, in FORMER."""
    return [classes.with_secondary_disks(rule, list(disks)) for rule, disks in zip(rules, former, strict=False)]


def decide(plan: RollPlan, view: ClassView) -> Step | ClassStep:
    """What to do next; raises nothing: what can't go on is a Stop."""
    return in_time(plan, view.now, lambda timed: _decide(timed, view))


def goes_back(plan: RollPlan, view: ClassView) -> bool:
    """Whether the roll is on its way back: asked for now, or begun by an earlier run and not at its end."""
    change = change_of(view.found) if view.found is not None else None
    return plan.back or (change is not None and change.back and bool(old_nodes(view)))


def old_nodes(view: ClassView) -> tuple[RollNode, ...]:
    """The nodes that are to go: those with a cache disk that the class has left.

    Where labels can't tell, those made before the change that don't show the new one.
    """
    change = change_of(view.found) if view.found is not None else None
    if change is None:
        return ()
    rules = classes.rules(view.found or {})
    wanted = _caches(rules, view.project)
    # Pools made by hand keep the disk image that they have: their nodes would come back as they were.
    by_hand = {str(pool) for rule in rules for pool in rule.get("nodepools") or ()}
    return tuple(
        node
        for node in view.nodes
        if node.pool not in by_hand
        and not node.disks & wanted
        and (node.disks & change.left or (change.by_time and (node.created is None or node.created <= change.since)))
    )


def split(plan: RollPlan, view: ClassView) -> tuple[RollView, RollPool, RollPool]:
    """The class as a roll of pools: its old nodes as one, all its others as another."""
    rules, change = classes.rules(view.found or {}), change_of(view.found or {})
    wanted = tuple(sorted(_caches(rules, view.project)))
    left = tuple(sorted(change.left)) if change else ()
    since = change.since if change else view.now
    old = RollPool(f"the old nodes of {view.name}", "RUNNING", left)
    origin = Origin(plan.pool, "", OFF, (change.began if change else None) or since, 0)
    new = RollPool(f"the new nodes of {view.name}", "RUNNING", wanted, origin=origin)
    going = {node.name for node in old_nodes(view)}
    nodes = tuple(replace(node, pool=old.name if node.name in going else new.name) for node in view.nodes)
    # A pod that waits for a node is this roll's business if it waits for one of this class.
    pods = tuple(pod for pod in view.pods if pod.node or pod.selects_class == view.name)
    return RollView(view.now, old, new, nodes, pods, view.pins, view.blocked, forgets=True), old, new


def _decide(plan: RollPlan, view: ClassView) -> Step | ClassStep:
    if view.found is None:
        return Stop(f"there is no ComputeClass {view.name}", "see them with: kubectl get computeclasses")
    rules, change = classes.rules(view.found), change_of(view.found)
    if goes_back(plan, view):
        return _backward(plan, view, rules, change)
    if plan.disk is None:
        if change is None or change.back:
            return Stop(f"no roll of ComputeClass {view.name} is under way", "begin one with --disk-image IMAGE")
        if change.to != _caches(rules, view.project):
            return Stop(f"ComputeClass {view.name} has been changed since the roll began", "name its --disk-image")
        return _moved(plan, view)
    if not classes.changed(rules):
        return Stop(
            f"no rule of ComputeClass {view.name} makes nodes of its own: it names pools, or Autopilot's machines",
            "roll the pools that it names",
        )
    if view.allowlists is not None and not classes.allowed(plan.disk, view.allowlists):
        return Allow((plan.disk,))
    noted = change is not None and not change.back and change.to == _caches(rules, view.project)
    if not noted or classes.with_disk(rules, plan.disk) != rules:
        return EditClass(view.name, plan.disk)
    return _moved(plan, view)


def _backward(plan: RollPlan, view: ClassView, rules: list[dict[str, Any]], change: Change | None) -> Step | ClassStep:
    if change is None:
        return Stop(f"no roll of ComputeClass {view.name} is noted on it: there is nothing to go back to", AGAIN)
    if change.back and change.to == _caches(rules, view.project):
        return _moved(plan, view)
    if len(change.former) != len(rules):
        return Stop(
            f"ComputeClass {view.name} had {len(change.former)} rules before the roll and has {len(rules)} now",
            "put its secondaryBootDisks back yourself, or roll to the former disk image with --disk-image",
        )
    if restored(rules, change.former) == rules:
        return Stop(
            f"ComputeClass {view.name} had its present cache disks before the roll began",
            "roll to the disk image that you want with --disk-image",
        )
    return EditClass(view.name, None)


def _moved(plan: RollPlan, view: ClassView) -> Step:
    """The next step in emptying the old nodes; Done once they are empty and the autoscaler has taken them away."""
    rolled, old, new = split(plan, view)
    stay = tuple(node.name for node in rolled.nodes if node.pool == new.name and CORDONED in node.marks)
    if stay:
        return Uncordon(stay)
    bare = _bare(view)
    if bare is not None:
        return Stop(f"{bare.name} is Ready and does not have the disk's label", "see the node, or --rollback")
    step = repin(plan, rolled, old, new, asked=goes_back(plan, view)) or drain(plan, rolled, old, new)
    return step or _at_rest(plan, view, workload(rolled, new), new.disks)


def _at_rest(plan: RollPlan, view: ClassView, pods: list[RollPod], has: tuple[DiskImageRef, ...]) -> Step:
    """What is still waited for once the old nodes are empty; PODS are on the others, which have the cache disks HAS."""
    change = change_of(view.found or {})
    back = change is not None and change.back
    waited = (view.now - max(plan.began or view.now, change.since if change else view.now)).total_seconds()
    # Evicted on the way there, from nodes that are no longer to go: no gate knows of their replacements yet.
    ending = [pod for pod in pods if pod.leaving] if back and plan.gate else []
    if ending and waited <= plan.gate_timeout_s:
        return Wait(f"{len(ending)} evicted pods are ending, such as {ending[0]}")
    disks = ", ".join(sorted(disk.name for disk in has)) or "no cache disk"
    going = old_nodes(view)
    if not going:
        return Done(f"ComputeClass {view.name} has {disks}, and so have its nodes", back)
    if waited > plan.ready_timeout_s:
        return Done(f"ComputeClass {view.name} has {disks}; {len(going)} empty nodes are left to the autoscaler", back)
    return Wait(f"the autoscaler takes {len(going)} empty nodes away, such as {going[0].name}", 60)


def _bare(view: ClassView) -> RollNode | None:
    """A Ready node made since the change that lacks the disk, where every rule asks for one that labels can show."""
    rules, change = classes.rules(view.found or {}), change_of(view.found or {})
    wanted = _caches(rules, view.project)
    if change is None or not all(classes.cache_disks(rule, view.project) for rule in rules):
        return None
    if not all(map(shown_by_label, wanted)):
        return None
    for node in view.nodes:
        fresh = node.created is not None and node.created > change.since
        if fresh and node.ready and not may_be_labelled_yet(node, view.now) and not node.disks & (wanted | change.left):
            return node
    return None


def _moving_since(view: ClassView) -> datetime | None:
    """Since when the last change of the class moves pods, if not all that it moved have come to rest."""
    change = change_of(view.found or {})
    if change is None:
        return None
    plan = RollPlan(f"class.{view.name}")
    rolled, old, new = split(plan, view)
    return change.began if old_nodes(view) or gate(plan, rolled, old, new) is not None else None


def _told_by_label(left: frozenset[DiskImageRef]) -> bool:
    return bool(left) and all(map(shown_by_label, left))


def _caches(rules: list[dict[str, Any]], project: str) -> frozenset[DiskImageRef]:
    return frozenset(disk for rule in rules for disk in classes.cache_disks(rule, project))


def _packed(change: Change) -> str:
    said = {
        "since": change.since.isoformat(),
        "former": change.former,
        "left": [[disk.project, disk.name] for disk in sorted(change.left)],
        "to": [[disk.project, disk.name] for disk in sorted(change.to)],
        "back": change.back,
        "byTime": change.by_time,
        "began": (change.began or change.since).isoformat(),
    }
    return json.dumps(said, separators=(",", ":"))


def foreseen(view: ClassView, disk: DiskImageRef) -> ClassView:
    """VIEW as it will be once the class has DISK: for looking ahead."""
    edit = changed(view, EditClass(view.name, disk))
    found = dict(view.found or {})
    metadata = dict(found.get("metadata") or {})
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **edit["metadata"]["annotations"]}
    spec = {**(found.get("spec") or {}), **(edit.get("spec") or {})}
    return replace(view, found={**found, "metadata": metadata, "spec": spec})
