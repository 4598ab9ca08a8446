"""A pool's successor: its name, its JSON, and the labels that tell where it comes from."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.roll import OFF, Origin, Scaling

LONGEST = 40
"""Characters in a pool's name (docs/facts.md)."""
PREFIX = "imagecache-roll-"
"""Of the resource labels (config.resourceLabels); GKE keeps them with the pool, whatever happens to its nodes."""
OUTPUT_ONLY = frozenset(
    {
        "selfLink",
        "instanceGroupUrls",
        "status",
        "statusMessage",
        "conditions",
        "podIpv4CidrSize",
        "updateInfo",
        "etag",
        "kubeletCertInfo",
    }
)
GVISOR = "sandbox.gke.io/runtime"
"""Label and taint that GKE adds to nodes with a sandboxConfig, and takes from nobody else
(https://github.com/crossplane-contrib/provider-gcp/issues/491)."""
_GROUP = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_SCALING = re.compile(r"(off|on)-([0-9]{1,9})-([0-9]{1,9})-([0-9]{1,9})-([0-9]{1,9})-([a-z_]*)")


def successor(name: str, taken: Collection[str]) -> str:
    """The name of NAME's next generation, `web` -> `web-r2` -> `web-r3`, at most 40 characters, not in TAKEN."""
    match = re.fullmatch(r"(.+?)-r([0-9]{1,6})", name)
    stem, number = (match[1], int(match[2])) if match else (name, 1)
    while True:
        number += 1
        tail = f"-r{number}"
        head = stem
        if len(head) + len(tail) > LONGEST:
            # What is cut off may be all that tells two pools apart, so a short hash stands for it.
            head = stem[: LONGEST - len(tail) - 5] + "-" + hashlib.sha256(stem.encode()).hexdigest()[:4]
        if head + tail not in taken:
            return head + tail


def scaling_of(pool: Mapping[str, Any]) -> Scaling:
    """The autoscaling of a pool in GKE's JSON."""
    found = pool.get("autoscaling") or {}
    if not found.get("enabled"):
        return Scaling()
    numbers = [
        int(found.get(k) or 0) for k in ("minNodeCount", "maxNodeCount", "totalMinNodeCount", "totalMaxNodeCount")
    ]
    return Scaling(True, numbers[0], numbers[1], numbers[2], numbers[3], str(found.get("locationPolicy") or ""))


def scaling_json(scaling: Scaling) -> dict[str, Any]:
    """SCALING as setAutoscaling takes it."""
    if not scaling.enabled:
        return {"enabled": False}
    fields = {
        "minNodeCount": scaling.least,
        "maxNodeCount": scaling.most,
        "totalMinNodeCount": scaling.total_least,
        "totalMaxNodeCount": scaling.total_most,
        "locationPolicy": scaling.policy,
    }
    # GKE takes limits a zone or in total, never both, so what is not set must not be sent.
    return {"enabled": True, **{name: value for name, value in fields.items() if value}}


def groups_of(pool: Mapping[str, Any]) -> list[str]:
    """Names of the instance groups of a pool in GKE's JSON, sorted; GKE makes new ones, named anew, for each pool."""
    return sorted(str(url).rpartition("/")[2] for url in pool.get("instanceGroupUrls") or ())


def successors(pools: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    """Names of those POOLS (GKE's JSON, by name) that a roll made in place of the pool NAME: one at the most, normally.

    A pool that was made again under that name has other instance groups: the roll that replaced the first is over.
    """
    old = pools.get(name)
    made = sorted(
        (origin.started, pool, origin.group)
        for pool, found in pools.items()
        if (origin := origin_of(found)) is not None and origin.pool == name
    )
    # While GKE deletes a pool its groups go one by one, and then they are gone: the last roll is the one that counts.
    if old is None or old.get("status") == "STOPPING":
        return [pool for _, pool, _ in made[-1:]]
    return [pool for _, pool, group in made if group in groups_of(old)]


def packed(scaling: Scaling) -> str:
    """SCALING as a label's value."""
    s = scaling
    state = "on" if s.enabled else "off"
    return f"{state}-{s.least}-{s.most}-{s.total_least}-{s.total_most}-{s.policy.lower()}"


def unpacked(text: str) -> Scaling | None:
    """What `packed` made TEXT of; None if it is something else."""
    match = _SCALING.fullmatch(text)
    if match is None:
        return None
    numbers = [int(match[group]) for group in range(2, 6)]
    return Scaling(match[1] == "on", numbers[0], numbers[1], numbers[2], numbers[3], match[6].upper())


def labels(origin: Origin) -> dict[str, str]:
    """ORIGIN as resource labels: keys and values of [a-z0-9_-], at most 63 characters."""
    return {
        f"{PREFIX}from": origin.pool,
        f"{PREFIX}group": origin.group,
        f"{PREFIX}scaling": packed(origin.scaling),
        f"{PREFIX}started": str(int(origin.started.timestamp())),
        f"{PREFIX}nodes": str(origin.nodes),
        **({f"{PREFIX}surge": str(origin.surge)} if origin.surge else {}),
    }


def origin_of(pool: Mapping[str, Any]) -> Origin | None:
    """What the resource labels of a pool in GKE's JSON say; None if they are absent or not ours."""
    found = (pool.get("config") or {}).get("resourceLabels") or {}
    name = str(found.get(f"{PREFIX}from") or "")
    group = str(found.get(f"{PREFIX}group") or "")
    scaling = unpacked(str(found.get(f"{PREFIX}scaling") or ""))
    started, nodes = str(found.get(f"{PREFIX}started") or ""), str(found.get(f"{PREFIX}nodes") or "0")
    surge = str(found.get(f"{PREFIX}surge") or "0")
    if (
        not name
        or not _GROUP.fullmatch(group)
        or scaling is None
        or not re.fullmatch(r"[0-9]{1,11}", started)
        or not re.fullmatch(r"[0-9]{1,9}", nodes)
        or not re.fullmatch(r"[0-9]{1,9}", surge)
    ):
        return None
    return Origin(name, group, scaling, datetime.fromtimestamp(int(started), timezone.utc), int(nodes), int(surge))


def _without(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The labels and taints of CONFIG, where there are any, without those of KEY."""
    found: dict[str, Any] = {}
    if "labels" in config:
        found["labels"] = {name: value for name, value in config["labels"].items() if name != key}
    if "taints" in config:
        found["taints"] = [taint for taint in config["taints"] if taint.get("key") != key]
    return found


def held(origin: Origin, zones: int) -> Scaling:
    """The new pool's limits until all pods have moved there; ZONES are its.

    In batches the roll sizes it. Else its empty nodes must not be taken away before the pods come: an autoscaler does
    so after ten minutes (https://cloud.google.com/kubernetes-engine/docs/concepts/cluster-autoscaler).
    """
    limits = origin.scaling
    if not limits.enabled:
        return limits
    if origin.surge:
        return OFF
    if limits.most:
        return replace(limits, least=max(limits.least, min(origin.nodes // max(1, zones), limits.most)))
    return replace(limits, total_least=max(limits.total_least, min(origin.nodes, limits.total_most)))


def is_held(scaling: Scaling, origin: Origin, zones: int) -> bool:
    """Whether SCALING is as the roll set it for as long as it lasts, and nobody has set it anew."""
    limits = held(origin, zones)
    return origin.scaling.enabled and replace(scaling, policy=limits.policy) == limits


def lasting(pool: Mapping[str, Any]) -> Mapping[str, Any]:
    """POOL, in GKE's JSON, with the limits that it will have once the roll that made it has ended."""
    origin, zones = origin_of(pool), len(pool.get("locations") or ()) or 1
    if origin is None or not is_held(scaling_of(pool), origin, zones):
        return pool
    return {**pool, "autoscaling": scaling_json(origin.scaling)}


def copied(pool: Mapping[str, Any], ours: str) -> dict[str, Any]:
    """POOL, in GKE's JSON, as a call that creates another like it may send it: without what only GKE writes.

    OURS is how resource labels begin that are not the copy's, either.
    """
    made: dict[str, Any] = copy.deepcopy({key: value for key, value in pool.items() if key not in OUTPUT_ONLY})
    config: dict[str, Any] = made.setdefault("config", {})
    config.pop("effectiveCgroupMode", None)
    if config.get("sandboxConfig"):
        config.update(_without(config, GVISOR))
    # GKE adds its own to every pool (https://cloud.google.com/kubernetes-engine/docs/how-to/creating-managing-labels).
    kept = {k: v for k, v in (config.get("resourceLabels") or {}).items() if not k.startswith((ours, "goog-gke-"))}
    config["resourceLabels"] = kept
    network = made.get("networkConfig")
    if isinstance(network, dict):
        for field in ("podIpv4RangeUtilization", "networkTierConfig"):
            network.pop(field, None)
        network["createPodRange"] = False
        if network.get("podRange"):
            network.pop("podIpv4CidrBlock", None)  # The range's name says it; both are refused.
    management = made.get("management")
    if isinstance(management, dict):
        management.pop("upgradeOptions", None)
    return made


def clone(
    pool: Mapping[str, Any],
    name: str,
    disk: DiskImageRef,
    per_zone: int,
    versions: Collection[str] | None,
    now: datetime,
    batches: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """The JSON that creates POOL's successor: everything as it is but for the name, the cache disk and our labels.

    PER_ZONE nodes; BATCHES, if they are only the first, are POOL's nodes and how many are made at one time. VERSIONS
    are those that GKE still offers (None: not known), without which the version is left to GKE. Fields that this
    program doesn't know are kept. POOL must have instance groups.
    """
    made = copied(pool, PREFIX)
    made["name"] = name
    made["initialNodeCount"] = per_zone
    if versions is not None and made.get("version") not in versions:
        made.pop("version", None)
    config: dict[str, Any] = made["config"]
    disks = [disk for disk in config.get("secondaryBootDisks") or [] if disk.get("mode") != "CONTAINER_IMAGE_CACHE"]
    config["secondaryBootDisks"] = [*disks, {"diskImage": str(disk), "mode": "CONTAINER_IMAGE_CACHE"}]
    config["gcfsConfig"] = {**(config.get("gcfsConfig") or {}), "enabled": True}
    zones = len(made.get("locations") or ()) or 1
    nodes, surge = batches or (per_zone * zones, 0)
    origin = Origin(str(pool["name"]), groups_of(pool)[0], scaling_of(pool), now, nodes, surge)
    if surge:
        made.pop("autoscaling", None)  # Its limits come back when all nodes are there: until then we size it.
    elif origin.scaling.enabled:
        made["autoscaling"] = {**made["autoscaling"], **scaling_json(held(origin, zones))}
    config["resourceLabels"] = {**config["resourceLabels"], **labels(origin)}
    return made
