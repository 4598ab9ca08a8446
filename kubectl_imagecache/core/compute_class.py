"""A ComputeClass's priority rules: which cache disks they have, and how they read with another disk image."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kubectl_imagecache.core.pools import DiskImageRef

Json = dict[str, Any]
CACHE = "CONTAINER_IMAGE_CACHE"
CLASS_LABEL = "cloud.google.com/compute-class"
"""On nodes, and in pods' nodeSelector."""
API, KIND = "cloud.google.com/v1", "ComputeClass"
ALLOWLIST_API, ALLOWLIST_KIND = "node.gke.io/v1", "GCPResourceAllowlist"
_NO_DISKS = ("nodepools", "podFamily")
"""Rules that name pools made by hand, or Autopilot's own machines: they have no storage to speak of."""
_LONGEST_PATTERN = 512


def rules(compute_class: Mapping[str, Any]) -> list[Json]:
    """The priority rules of a ComputeClass, in order; what is no object is left out."""
    found = (compute_class.get("spec") or {}).get("priorities") or ()
    return [rule for rule in found if isinstance(rule, dict)]


def zones(
    compute_class: Mapping[str, Any], pools: Mapping[str, frozenset[str]], usual: frozenset[str]
) -> frozenset[str]:
    """Where the nodes of a ComputeClass may be.

    POOLS are the zones of pools by name, for rules that name some; USUAL those of nodes for which no rule names any.
    """
    spec = compute_class.get("spec") or {}
    default = _named(spec.get("priorityDefaults")) or usual
    found = usual if spec.get("whenUnsatisfiable") == "ScaleUpAnyway" else frozenset()
    for rule in rules(compute_class):
        by_hand = [pools.get(str(pool), usual) for pool in rule.get("nodepools") or ()]
        found = found.union(*by_hand) if by_hand else found | (_named(rule) or default)
    return found


def _named(rule: Any) -> frozenset[str]:
    # https://cloud.google.com/kubernetes-engine/docs/reference/crds/computeclass
    location = rule.get("location") if isinstance(rule, dict) else None
    return frozenset(map(str, (location or {}).get("zones") or ()))


def cache_disks(rule: Mapping[str, Any], project: str) -> tuple[DiskImageRef, ...]:
    """The disk images of RULE's cache disks; PROJECT is the cluster's, meant where none is named."""
    found = (rule.get("storage") or {}).get("secondaryBootDisks") or ()
    return tuple(
        DiskImageRef(str(disk.get("project") or project), str(disk.get("diskImageName") or ""))
        for disk in found
        if disk.get("mode") == CACHE
    )


def secondary_disks(rule: Mapping[str, Any]) -> list[Json]:
    """The secondary boot disks of RULE as they are written there."""
    return copy.deepcopy(list((rule.get("storage") or {}).get("secondaryBootDisks") or ()))


def changed(found: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """The places of the rules whose cache disk a roll changes: those that have one, else all that could have one."""
    having = tuple(place for place, rule in enumerate(found) if cache_disks(rule, ""))
    return having or tuple(place for place, rule in enumerate(found) if not any(rule.get(field) for field in _NO_DISKS))


def with_disk(found: Sequence[Mapping[str, Any]], disk: DiskImageRef) -> list[Json]:
    """The rules with DISK as the only cache disk of those that a roll changes; plain data disks stay."""
    made = copy.deepcopy([dict(rule) for rule in found])
    for place in changed(found):
        others = [one for one in secondary_disks(found[place]) if one.get("mode") != CACHE]
        cache = {"diskImageName": disk.name, "project": disk.project, "mode": CACHE}
        made[place] = with_secondary_disks(made[place], [*others, cache])
    return made


def with_secondary_disks(rule: Mapping[str, Any], disks: list[Json]) -> Json:
    """RULE with these secondary boot disks, written as a ComputeClass writes them; none takes the field away."""
    storage = {key: value for key, value in (rule.get("storage") or {}).items() if key != "secondaryBootDisks"}
    if disks:
        storage["secondaryBootDisks"] = disks
    made = {key: value for key, value in rule.items() if key != "storage"}
    return made | ({"storage": storage} if storage else {})


def allowed(disk: DiskImageRef, allowlists: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a pattern of these GCPResourceAllowlists matches DISK's whole path."""
    return any(_matches(pattern, str(disk)) for one in allowlists for pattern in patterns(one))


def patterns(allowlist: Mapping[str, Any]) -> list[str]:
    """The regular expressions of a GCPResourceAllowlist."""
    return [str(one) for one in (allowlist.get("spec") or {}).get("allowedResourcePatterns") or ()]


def exactly(disk: DiskImageRef) -> str:
    """The pattern that matches DISK alone."""
    return str(disk).replace(".", "\\.")


def owners_of_rules(found: Mapping[str, Any], manager: str) -> tuple[str, ...]:
    """The field managers other than MANAGER that own `spec.priorities`, by name."""
    owners = set()
    for entry in (found.get("metadata") or {}).get("managedFields") or ():
        spec = (entry.get("fieldsV1") or {}).get("f:spec") or {}
        if "f:priorities" in spec and entry.get("manager") != manager:
            owners.add(str(entry.get("manager")))
    return tuple(sorted(owners))


def _matches(pattern: str, path: str) -> bool:
    # GKE's expressions are RE2's; what Python can't read, or is far too long, is taken not to match.
    if len(pattern) > _LONGEST_PATTERN:
        return False
    try:
        return re.fullmatch(pattern, path) is not None
    except (re.error, RecursionError, OverflowError):
        return False
