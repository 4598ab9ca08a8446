"""Read all that the checks before a roll look at; nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kubectl_imagecache.clients.compute import Compute
from kubectl_imagecache.clients.gke import cluster_of
from kubectl_imagecache.clients.gke_roll import roll_pool
from kubectl_imagecache.clients.kube.roll_wire import Budget as WireBudget
from kubectl_imagecache.core import roll_preflight as core
from kubectl_imagecache.core.errors import UserError
from kubectl_imagecache.core.pins import Pin
from kubectl_imagecache.core.pools import DiskImage, DiskImageRef
from kubectl_imagecache.core.roll import RollNode, RollPlan, RollPod
from kubectl_imagecache.core.roll_checks import Budget, Check
from kubectl_imagecache.core.roll_decide import selects
from kubectl_imagecache.core.roll_pool import successor
from kubectl_imagecache.usecases.roll_observe import no_pool, untold_pins
from kubectl_imagecache.usecases.roll_room import room
from kubectl_imagecache.usecases.roll_tools import Tools

_DISK_METRICS = {"pd-ssd": "SSD_TOTAL_GB", "pd-balanced": "SSD_TOTAL_GB", "pd-standard": "DISKS_TOTAL_GB"}
"""Quota by disk type (https://cloud.google.com/compute/resource-usage)."""


@dataclass(frozen=True, slots=True)
class Promised:
    """Compute as it will be once a build has made its disk image."""

    compute: Compute
    image: DiskImage

    def disk_image(self, ref: DiskImageRef) -> DiskImage:
        """The disk image that is yet to be made, or as Compute.disk_image has it."""
        return self.image if ref == self.image.ref else self.compute.disk_image(ref)


def preflight(tools: Tools, compute: Compute | Promised, plan: RollPlan) -> tuple[Check, ...]:
    """The checklist of PLAN; raises NotFound for a pool that isn't there, and what the clients raise."""
    if plan.disk is None:
        raise UserError("no disk image is named", "name it with --disk-image")
    cluster = tools.gke.cluster()
    raw = next((pool for pool in cluster.get("nodePools") or () if pool.get("name") == plan.pool), None)
    if raw is None:
        raise no_pool(plan.pool, cluster)
    project = tools.gke.target.project
    pool = next(p for p in cluster_of(cluster, "GKE", project).pools if p.name == plan.pool)
    disk = compute.disk_image(plan.disk)
    nodes = {node.name: node for node in tools.kube.nodes(plan.pool)}
    pods = [pod for pod in tools.kube.pods() if pod.node in nodes]
    space = room(tools, cluster, raw, pods)
    facts = core.Facts(
        pool=pool,
        disk=disk,
        project=project,
        others_busy=tuple(
            f"{p.get('name')} is {p['status']}"
            for p in cluster.get("nodePools") or ()
            if p.get("status") in ("PROVISIONING", "RECONCILING", "STOPPING")
        ),
        pods=tuple(pods),
        pins=_pins(tools, plan, raw, pods, nodes),
        target=successor(plan.pool, {str(p.get("name")) for p in cluster.get("nodePools") or ()}),
        budgets=budgets_over(tools, pods),
        quotas=quotas_for(tools, cluster, raw, space.extra(plan), disk.size_gb or 0),
        version_offered=not pool.version or pool.version in tools.gke.versions(),
        room=space,
        raw=raw,
    )
    return core.checklist(plan, facts)


def _pins(
    tools: Tools, plan: RollPlan, raw: Mapping[str, Any], pods: list[RollPod], nodes: dict[str, RollNode]
) -> tuple[Pin, ...]:
    old = roll_pool(raw, 0, tools.gke.target.project)
    new = replace(old, name=successor(old.name, {old.name}), disks=(plan.disk,) if plan.disk else ())
    return tuple(pin for pin in tools.kube.pins() + untold_pins(pods, nodes, old) if selects(pin, old, new))


def budgets_over(tools: Tools, pods: list[RollPod]) -> tuple[Budget, ...] | None:
    """The budgets that cover PODS; None if they can't be read."""
    try:
        budgets = tools.kube.budgets()
    except UserError:
        return None  # Shown as a warning: a roll works without, for the Eviction API knows them.
    found = []
    for budget in budgets:
        covered = [pod for pod in pods if not pod.stays and _covers(budget, pod)]
        if covered:
            name = f"{budget.metadata.namespace}/{budget.metadata.name}"
            allowed = (budget.status.disruptions_allowed if budget.status else None) or 0
            found.append(Budget(name, allowed, tuple(map(str, covered))))
    return tuple(found)


def _covers(budget: WireBudget, pod: RollPod) -> bool:
    selector = (budget.spec.selector if budget.spec else None) or {}
    if budget.metadata.namespace != pod.namespace:
        return False
    wanted, expressions = selector.get("matchLabels") or {}, selector.get("matchExpressions") or []
    if not isinstance(wanted, dict) or not isinstance(expressions, list):
        return False
    same = all(pod.labels.get(key) == value for key, value in wanted.items())
    return same and all(_meets(one, pod.labels) for one in expressions)


def _meets(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression.get("key") or "", expression.get("values") or ()
    there = {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }
    return there.get(str(expression.get("operator")), False)


def quotas_for(
    tools: Tools, cluster: Mapping[str, Any], raw: Mapping[str, Any], count: int, cache_gb: int
) -> tuple[core.Quota, ...] | None:
    """What COUNT nodes like those of the pool RAW (GKE's JSON) need, with CACHE_GB of disk besides; None: not known."""
    config, locations = raw.get("config") or {}, raw.get("locations") or ()
    try:
        region, machine = (
            tools.gke.region(locations),
            tools.gke.machine(locations, str(config.get("machineType") or "")),
        )
    except UserError:
        return None  # Shown as a warning; GKE itself refuses what has no quota.
    family = str(config.get("machineType") or "").partition("-")[0].upper()
    cpus = count * int(machine.get("guestCpus") or 0)
    disk_gb = count * (int(config.get("diskSizeGb") or 100) + cache_gb)
    needed: dict[str, float] = {
        "INSTANCES": count,
        f"{family}_CPUS": cpus,
        _DISK_METRICS.get(str(config.get("diskType") or "pd-balanced"), ""): disk_gb,
    }
    known = {str(quota.get("metric")): quota for quota in region.get("quotas") or ()}
    if f"{family}_CPUS" not in known:
        needed["CPUS"] = cpus
    if not _private(cluster, raw):
        needed["IN_USE_ADDRESSES"] = count
    # Both kinds of preemptible nodes have quotas of their own, where they have any.
    spot = "PREEMPTIBLE_" if config.get("spot") or config.get("preemptible") else ""
    if f"{spot}CPUS" in known and spot:
        needed = {metric: amount for metric, amount in needed.items() if not metric.endswith("CPUS")}
        needed[f"{spot}CPUS"] = cpus
    for accelerator in config.get("accelerators") or ():
        kind = str(accelerator.get("acceleratorType") or "").upper().replace("-", "_").replace("_TESLA", "")
        gpus = count * int(accelerator.get("acceleratorCount") or 0)
        needed[f"{spot if f'{spot}{kind}_GPUS' in known else ''}{kind}_GPUS"] = gpus
    return tuple(
        core.Quota(metric, float(known[metric].get("limit") or 0), float(known[metric].get("usage") or 0), amount)
        for metric, amount in needed.items()
        if metric in known
    )


def _private(cluster: Mapping[str, Any], pool: Mapping[str, Any]) -> bool:
    """Whether the nodes have no external addresses: the pool says so, or for those that don't the cluster."""
    own = (pool.get("networkConfig") or {}).get("enablePrivateNodes")
    return bool((cluster.get("privateClusterConfig") or {}).get("enablePrivateNodes") if own is None else own)
