"""Read all that the checks before the roll of a ComputeClass look at; nothing is changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kubectl_imagecache.clients.compute import Compute
from kubectl_imagecache.core import class_roll as core
from kubectl_imagecache.core import compute_class as classes
from kubectl_imagecache.core.class_preflight import class_checklist
from kubectl_imagecache.core.errors import BadUsage, NotFound
from kubectl_imagecache.core.pools import DiskMode, Pool, SecondaryDisk
from kubectl_imagecache.core.roll import RollNode, RollPlan
from kubectl_imagecache.core.roll_checks import Check
from kubectl_imagecache.core.roll_decide import selects
from kubectl_imagecache.core.roll_preflight import Facts, Quota
from kubectl_imagecache.core.roll_room import Room
from kubectl_imagecache.usecases.class_roll import ClassTools, observe_class
from kubectl_imagecache.usecases.roll_preflight import budgets_over, quotas_for
from kubectl_imagecache.usecases.roll_room import volumes
from kubectl_imagecache.usecases.roll_tools import Tools


def preflight_class(able: ClassTools, compute: Compute, plan: RollPlan, force: bool) -> tuple[Check, ...]:
    """The checklist of a roll of the class; FORCE: fields may be taken from other managers.

    Raises NotFound if there is no such class, BadUsage if no disk image is named, and what the clients raise.
    """
    view = observe_class(able)
    if view.found is None:
        raise NotFound(f"there is no ComputeClass {able.name}", "see them with: kubectl get computeclasses")
    if plan.disk is None:
        raise BadUsage("no disk image is named", "name it with --disk-image")
    ahead = core.foreseen(view, plan.disk)
    _, old, new = core.split(plan, ahead)
    going = core.old_nodes(ahead)
    names = {node.name for node in going}
    pods = tuple(pod for pod in view.pods if pod.node in names)
    machines = {node.arch for node in view.nodes}
    disks = tuple(SecondaryDisk(disk, DiskMode.CACHE) for disk in old.disks)
    disk, cluster = compute.disk_image(plan.disk), able.tools.gke.cluster()
    facts = Facts(
        pool=Pool(able.name, disks, image_streaming=True, arch=machines.pop() if len(machines) == 1 else ""),
        disk=disk,
        project=able.project,
        pods=pods,
        target=new.name,
        pins=tuple(pin for pin in able.tools.kube.pins() if selects(pin, old, new)),
        budgets=budgets_over(able.tools, list(pods)),
        quotas=_quotas(able.tools, cluster, going, disk.size_gb or 0),
        room=Room(zones=_zones(cluster, view.found), volumes=volumes(able.tools, pods)),
    )
    autopilot = bool((cluster.get("autopilot") or {}).get("enabled"))
    return class_checklist(plan, view, facts, autopilot, core.MANAGER, force)


def _zones(cluster: Mapping[str, Any], found: Mapping[str, Any]) -> frozenset[str]:
    """Where the nodes of the ComputeClass FOUND may be; CLUSTER is GKE's JSON."""
    pools = {str(pool.get("name")): frozenset(pool.get("locations") or ()) for pool in cluster.get("nodePools") or ()}
    usual = (cluster.get("autoscaling") or {}).get("autoprovisioningLocations") or cluster.get("locations") or ()
    return classes.zones(found, pools, frozenset(usual))


def _quotas(
    tools: Tools, cluster: Mapping[str, Any], nodes: Sequence[RollNode], cache_gb: int
) -> tuple[Quota, ...] | None:
    """What as many nodes like NODES need, with CACHE_GB of disk besides; None: not known."""
    pools = {str(pool.get("name")): pool for pool in cluster.get("nodePools") or ()}
    found: dict[str, Quota] = {}
    for name, count in Counter(node.pool for node in nodes).items():
        quotas = quotas_for(tools, cluster, pools.get(name) or {}, count, cache_gb)
        if quotas is None:
            return None
        for one in quotas:
            before = found.get(one.metric)
            found[one.metric] = replace(one, needed=one.needed + before.needed) if before else one
    return tuple(found.values())
