"""What is looked at before a ComputeClass is rolled, beside what is looked at before any roll."""

from __future__ import annotations

from collections.abc import Iterator

from kubectl_imagecache.core import compute_class as classes
from kubectl_imagecache.core.class_roll import ClassView, foreseen, old_nodes
from kubectl_imagecache.core.roll import RollPlan
from kubectl_imagecache.core.roll_checks import Check, Result
from kubectl_imagecache.core.roll_preflight import Facts, Quota, checklist, lacking, overruled

_SHARED = (
    *("disk-image", "disk-deprecated", "architecture", "reach", "label", "unmanaged-pods", "safe-to-evict"),
    *("local-data", "host-path", "not-ready", "selectors", "budgets"),
    *("double-budgets", "force-after", "volumes"),
)
"""Checks of a pool's roll that mean the same here."""
_UNKNOWN = Check(
    "autoscaler",
    Result.WARN,
    "what it alone finds out: which rule it takes, machines in stock, limits of its own, pod addresses",
)


def class_checklist(
    plan: RollPlan, view: ClassView, facts: Facts, autopilot: bool, manager: str, force: bool
) -> tuple[Check, ...]:
    """All checks of a roll of a ComputeClass that is there to a disk image that is named, in reading order.

    FACTS are of the old nodes, their quotas for as many new ones; MANAGER is our field manager, FORCE whether it may
    take fields from others.
    """
    assert plan.disk is not None
    shared = [check for check in checklist(plan, facts) if check.name in _SHARED]
    own = [
        *_rules(plan, view),
        *_creation(view, autopilot),
        *_allowlist(plan, view),
        *_owner(plan, view, manager, force),
    ]
    going = old_nodes(foreseen(view, plan.disk))
    moving = sum(1 for pod in facts.pods if not pod.stays)
    text = f"{moving} pods will move from {len(going)} nodes to those that the autoscaler makes"
    quota = overruled(plan, [_quota(plan, facts.quotas, len(going))])
    return (*own, *shared, *quota, _UNKNOWN, Check("pods", Result.OK, text))


def _rules(plan: RollPlan, view: ClassView) -> Iterator[Check]:
    found = classes.rules(view.found or {})
    places = classes.changed(found)
    if not places:
        text = f"no rule of {view.name} makes nodes of its own"
        pools = [str(pool) for rule in found for pool in rule.get("nodepools") or ()]
        yield Check("rules", Result.REFUSE, text, tuple(f"roll {pool}" for pool in pools))
        return
    assert plan.disk is not None
    if classes.with_disk(found, plan.disk) == found:
        yield Check("rules", Result.OK, f"{view.name} has {plan.disk.name} already: only its nodes are replaced")
    else:
        text = f"{len(places)} of {len(found)} rules of {view.name} get {plan.disk.name}"
        details = tuple(
            f"rule {place + 1}: {', '.join(d.name for d in classes.cache_disks(found[place], view.project)) or 'none'}"
            f" -> {plan.disk.name}"
            for place in places
        )
        yield Check("rules", Result.OK, text, details)
    others = [rule for place, rule in enumerate(found) if place not in places]
    if others:
        yield Check("rules", Result.WARN, f"{len(others)} rules of {view.name} have no cache disk and get none")


def _creation(view: ClassView, autopilot: bool) -> Iterator[Check]:
    creates = ((view.found or {}).get("spec") or {}).get("nodePoolAutoCreation") or {}
    if not autopilot and not creates.get("enabled"):
        text = f"{view.name} has no nodePoolAutoCreation: nobody makes nodes with the new disk image"
        yield Check("auto-creation", Result.REFUSE, text, ("roll the pools that serve it instead: roll POOL",))


def _allowlist(plan: RollPlan, view: ClassView) -> Iterator[Check]:
    assert plan.disk is not None
    if view.allowlists is None:
        yield Check("allowlist", Result.WARN, "the cluster knows no GCPResourceAllowlist, or it may not be read")
    elif classes.allowed(plan.disk, view.allowlists):
        yield Check("allowlist", Result.OK, f"a GCPResourceAllowlist allows {plan.disk.name}")
    else:
        yield Check("allowlist", Result.OK, f"no GCPResourceAllowlist allows {plan.disk.name}: one will be written")


def _owner(plan: RollPlan, view: ClassView, manager: str, force: bool) -> Iterator[Check]:
    rules, owners = classes.rules(view.found or {}), classes.owners_of_rules(view.found or {}, manager)
    names = ", ".join(owners)
    if plan.disk is None or classes.with_disk(rules, plan.disk) == rules:
        return
    if not owners:
        yield Check("field-manager", Result.OK, f"no other field manager keeps the rules of {view.name}")
    elif force:
        text = f"the rules are taken over from {names}, as --force-conflicts asks"
        yield Check("field-manager", Result.WARN, text)
    else:
        advice = "commit there what --emit computeclass prints, then roll: nothing but nodes is changed then"
        details = (advice, "or take them over with --force-conflicts")
        yield Check("field-manager", Result.REFUSE, f"{names} keeps the rules of {view.name}", details)


def _quota(plan: RollPlan, quotas: tuple[Quota, ...] | None, going: int) -> Check:
    """Whether as many nodes as are GOING, of their machines, fit beside them, or those that are emptied at one time."""
    if quotas is None:
        return Check("quota", Result.WARN, "the region's quotas could not be read")
    short = lacking(quotas)
    if not short:
        return Check("quota", Result.OK, f"the region's quotas have room for {going} new nodes like the old ones")
    least = min(plan.max_unavailable, going)
    if lacking(quotas, least / going):
        text = f"there is no quota for even the {least} new nodes that --max-unavailable needs at one time"
        return Check("quota", Result.REFUSE, text, short)
    text = "there is no quota for all new nodes at once: pods wait until the autoscaler has taken old ones away"
    return Check("quota", Result.WARN, text, short)
