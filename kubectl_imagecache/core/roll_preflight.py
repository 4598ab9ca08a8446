"""What is looked at before a roll begins, and what each look found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubectl_imagecache.core.compute_class import CLASS_LABEL
from kubectl_imagecache.core.iac import tools
from kubectl_imagecache.core.pins import Pin, command_of, patch_of, rollout
from kubectl_imagecache.core.pools import DiskImage, DiskState, Pool
from kubectl_imagecache.core.roll import RollPlan, RollPod
from kubectl_imagecache.core.roll_checks import Budget, Check, Result
from kubectl_imagecache.core.roll_kinds import kinds
from kubectl_imagecache.core.roll_room import Room, checks


@dataclass(frozen=True, slots=True)
class Quota:
    """A regional quota, and what the new nodes need of it."""

    metric: str
    limit: float
    used: float
    needed: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What the checks look at; None is not known."""

    pool: Pool
    disk: DiskImage
    project: str
    """The cluster's."""
    others_busy: tuple[str, ...] = ()
    """Pools that are being changed, with their states."""
    pods: tuple[RollPod, ...] = ()
    """On the pool's nodes."""
    pins: tuple[Pin, ...] = ()
    budgets: tuple[Budget, ...] | None = None
    quotas: tuple[Quota, ...] | None = None
    version_offered: bool | None = None
    room: Room = field(default_factory=Room)
    raw: Mapping[str, Any] = field(default_factory=dict)
    """The pool in GKE's JSON."""
    target: str = ""
    """The name of the pool that the pods are to move to."""


OVERRULED = (
    "unmanaged-pods",
    "safe-to-evict",
    "selectors",
    "quota",
    "disk-deprecated",
    "pod-addresses",
    "volumes",
    "double-budgets",
)
"""Checks whose refusal --allow turns into a warning."""


def checklist(plan: RollPlan, facts: Facts) -> tuple[Check, ...]:
    """All checks, in the order in which they are read; those in PLAN.allow are refusals no more."""
    found = [*_disk(facts), *_pool(facts), *kinds(facts.raw, plan, facts.room.extra(plan))]
    found += [*_pods(plan, facts), _selectors(plan, facts), _budgets(facts), _quota(facts)]
    found += checks(plan, facts.room, facts.pods, facts.budgets or ())
    return overruled(plan, found)


def overruled(plan: RollPlan, found: Iterable[Check]) -> tuple[Check, ...]:
    """FOUND, with those refusals that PLAN allows, and that can be, as warnings."""
    return tuple(
        Check(check.name, Result.WARN, check.text, check.details)
        if check.result is Result.REFUSE and check.name in plan.allow and check.name in OVERRULED
        else check
        for check in found
    )


def _disk(facts: Facts) -> Iterable[Check]:
    disk, state, name = facts.disk, facts.disk.state, facts.disk.ref.name
    if state is DiskState.MISSING:
        yield Check("disk-image", Result.REFUSE, f"there is no disk image {disk.ref}")
        return
    if state is DiskState.DEPRECATED:
        other = (f"use {disk.replacement} instead",) if disk.replacement else ()
        yield Check("disk-deprecated", Result.REFUSE, f"the disk image {name} is deprecated", other)
    elif state is not DiskState.READY:
        yield Check("disk-image", Result.REFUSE, f"the disk image {name} is {state.value}, not READY")
    else:
        yield Check("disk-image", Result.OK, f"the disk image {name} is READY")
    if disk.arch and facts.pool.arch and disk.arch != facts.pool.arch:
        text = f"the disk image is for {disk.arch}, the pool's machines are {facts.pool.arch}"
        yield Check("architecture", Result.REFUSE, text)
    elif disk.arch and not facts.pool.arch:
        text = f"the disk image is for {disk.arch}; which machines it will meet is not known"
        yield Check("architecture", Result.WARN, text)
    elif disk.arch:
        yield Check("architecture", Result.OK, f"the disk image and the pool are both {disk.arch}")
    else:
        yield Check("architecture", Result.WARN, "the disk image does not say which architecture it is for")
    if disk.ref.project != facts.project:
        text = f"the disk image is in project {disk.ref.project}: GKE's service agent needs compute.imageUser there"
        yield Check("reach", Result.WARN, text)
    if len(name) > 39:
        yield Check("label", Result.WARN, f"{name} is longer than 39 characters: no node label can prove the disk")
    if disk.ref in {one.image for one in facts.pool.cache_disks}:
        yield Check("change", Result.REFUSE, f"{facts.pool.name} has that disk image already")


def _pool(facts: Facts) -> Iterable[Check]:
    pool = facts.pool
    if pool.autoprovisioned:
        text = f"{pool.name} is auto-provisioned: GKE makes and removes it itself"
        name = dict(pool.node_labels).get(CLASS_LABEL, "")
        instead = f"roll --compute-class {name} instead" if name else "change the workloads that it is made for instead"
        yield Check("auto-provisioned", Result.REFUSE, text, (instead,))
    if pool.status not in ("RUNNING", ""):
        yield Check("pool-status", Result.REFUSE, f"{pool.name} is {pool.status}, not RUNNING")
    if not pool.image_streaming:
        yield Check("streaming", Result.WARN, f"image streaming is off on {pool.name}: its successor will have it on")
    else:
        yield Check("streaming", Result.OK, "image streaming is on")
    if facts.version_offered is False:
        yield Check(
            "version", Result.WARN, f"GKE no longer offers {pool.version}: the new pool gets the control plane's"
        )
    if facts.others_busy:
        yield Check("operation", Result.WARN, "another operation runs and is waited for", facts.others_busy)
    for tool in tools(pool.resource_labels):
        text = f"{tool.name} keeps {pool.name} (label {tool.label}): its next apply may undo the roll"
        yield Check("infrastructure-as-code", Result.WARN, text, (f"commit what --emit {tool.emit} prints",))


def _pods(plan: RollPlan, facts: Facts) -> Iterable[Check]:
    moving = [pod for pod in facts.pods if not pod.stays]
    yield Check("pods", Result.OK, f"{len(moving)} pods will move to {_new_nodes(plan, facts)} new nodes")
    for name, result, text, found in (
        (
            "unmanaged-pods",
            Result.REFUSE,
            "have no controller: once evicted, nobody makes them again",
            _no_owner(moving),
        ),
        ("safe-to-evict", Result.REFUSE, "are annotated safe-to-evict=false", [p for p in moving if p.guarded]),
        (
            "jobs",
            Result.WARN,
            "are of Jobs: they begin again, and Jobs count that as a failure (backoffLimit)",
            [p for p in moving if p.owner_kind == "Job"],
        ),
        (
            "grace",
            Result.WARN,
            "may take longer to end than --drain-timeout waits",
            [p for p in moving if p.grace_s > plan.drain_timeout_s],
        ),
        ("local-data", Result.WARN, "have emptyDir volumes, whose data goes", [p for p in moving if p.empty_dir]),
        ("host-path", Result.WARN, "have hostPath volumes, whose data stays behind", [p for p in moving if p.local]),
        ("not-ready", Result.WARN, "are not Ready already: no gate waits for them", [p for p in moving if not p.ready]),
    ):
        if found:
            yield Check(name, result, f"{len(found)} pods {text}", tuple(map(str, found)))


def _new_nodes(plan: RollPlan, facts: Facts) -> int:
    return facts.room.extra(plan) if plan.surge is None else sum(facts.room.sizes)


def _no_owner(pods: list[RollPod]) -> list[RollPod]:
    return [pod for pod in pods if not pod.owner_kind]


def _selectors(plan: RollPlan, facts: Facts) -> Check:
    if not facts.pins:
        return Check("selectors", Result.OK, "no workload selects the pool's name or its disk's label")
    details: list[str] = []
    for pin in facts.pins:
        details.append(f"{pin}: {pin.by} {pin.key}={pin.value}{_mend(pin, plan)}")
        if pin.mendable and not plan.repin:
            details.append(f"  {command_of(pin, patch_of(pin, facts.target, plan.disk))}")
    text = f"pods would stay Pending: their workloads select {facts.pool.name} or its disk"
    fixed = plan.repin and all(pin.mendable for pin in facts.pins)
    return Check("selectors", Result.WARN if fixed else Result.REFUSE, text, tuple(details))


def _mend(pin: Pin, plan: RollPlan) -> str:
    if not pin.mendable:
        return "; change it by hand"
    if plan.repin:
        return f"; --repin changes it (as asked){rollout(pin)}"
    return f"; --repin changes it{rollout(pin)}, by"


def _budgets(facts: Facts) -> Check:
    if facts.budgets is None:
        return Check("budgets", Result.WARN, "the PodDisruptionBudgets could not be read")
    tight = [budget for budget in facts.budgets if budget.allowed <= 0]
    if not tight:
        return Check("budgets", Result.OK, "every budget that covers the pool's pods allows a disruption")
    details = tuple(f"{budget.name}: {', '.join(budget.pods)}" for budget in tight)
    return Check("budgets", Result.WARN, "some budgets allow no disruption now: their pods are waited for", details)


def _quota(facts: Facts) -> Check:
    if facts.quotas is None:
        return Check("quota", Result.WARN, "the region's quotas could not be read")
    short = lacking(facts.quotas)
    if not short:
        return Check("quota", Result.OK, "the region's quotas have room for the new nodes")
    return Check("quota", Result.REFUSE, "there is no quota for the new nodes", short)


def lacking(quotas: Iterable[Quota], share: float = 1.0) -> tuple[str, ...]:
    """The quotas that have no room for SHARE of what is needed, a line each."""
    return tuple(
        f"{q.metric}: {q.used:g} of {q.limit:g} used, {q.needed:g} needed"
        for q in quotas
        if q.used + q.needed * share > q.limit
    )
