"""The pools of a bench: what of each decides how long pulls take, in what they differ, and those made for it alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from kubectl_imagecache.core.bench import BenchNode, BenchPlan, MadePool
from kubectl_imagecache.core.pools import DiskImageRef, Taint
from kubectl_imagecache.core.roll_pool import copied

RUN_LABEL = "imagecache-bench-run"
"""Resource label (config.resourceLabels) of a pool that a bench made: the run's id."""
NAMESPACE_LABEL = "imagecache-bench-namespace"
"""Where the run's owner is; whoever finds the pool and no owner there may delete it."""
EXPIRES_LABEL = "imagecache-bench-expires"
"""Epoch seconds after which nobody needs it any more, whatever became of its owner."""
WAYS = ("registry", "streaming", "disk")
"""The ways to pull, one pool each."""
_PREFIX = "imagecache-bench-"
_GPU = Taint("nvidia.com/gpu", "present", "NoSchedule")
_EFFECTS = {"NO_SCHEDULE": "NoSchedule", "PREFER_NO_SCHEDULE": "PreferNoSchedule", "NO_EXECUTE": "NoExecute"}
_NOT_THE_POOLS = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/", "ToBeDeletedBy", "DeletionCandidate")
"""Beginnings of the keys of taints that come and go with a node's condition."""


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """What of a pool decides how long pulls take."""

    name: str
    machine_type: str = ""
    """Empty: not known; so it is with all of these."""
    disk_type: str = ""
    disk_gb: int = 0
    local_ssds: int = 0
    """Local SSDs that hold images instead of the boot disk."""
    zones: tuple[str, ...] = ()
    parallel_pulls: int | None = None
    """The kubelet's maxParallelImagePulls; None: GKE's default, which goes by the disk's type."""
    version: str = ""
    streaming: bool | None = None
    cache_disk: str = ""
    """The disk image's path."""
    autoscaled: bool | None = None
    """None: not known."""
    most_nodes: int = 0
    """The autoscaler's limit for the whole pool; 0: not known."""
    taints: tuple[Taint, ...] = ()
    known_from: str = "gke"
    """`gke` or `nodes`."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact in which pools differ, so that their pulls can't be compared."""

    what: str
    values: tuple[tuple[str, str], ...]
    """(Pool, value)."""


def facts_of(pool: Mapping[str, Any], project: str, streaming_default: bool = False) -> PoolFacts:
    """The facts of a pool in GKE's JSON; PROJECT is the cluster's, STREAMING_DEFAULT what a silent pool has."""
    config = pool.get("config") or {}
    boot = config.get("bootDisk") or {}
    scaling = pool.get("autoscaling") or {}
    zones = tuple(sorted(str(zone) for zone in pool.get("locations") or ()))
    ssds = config.get("ephemeralStorageLocalSsdConfig") or config.get("ephemeralStorageConfig") or {}
    pulls = (config.get("kubeletConfig") or {}).get("maxParallelImagePulls")
    most = int(scaling.get("totalMaxNodeCount") or 0) or int(scaling.get("maxNodeCount") or 0) * max(1, len(zones))
    return PoolFacts(
        name=str(pool.get("name") or ""),
        machine_type=str(config.get("machineType") or ""),
        disk_type=str(config.get("diskType") or boot.get("diskType") or ""),
        disk_gb=int(config.get("diskSizeGb") or boot.get("sizeGb") or 0),
        local_ssds=int(ssds.get("localSsdCount") or 0),
        zones=zones,
        parallel_pulls=int(pulls) if pulls else None,
        version=str(pool.get("version") or ""),
        streaming=bool((config.get("gcfsConfig") or {"enabled": streaming_default}).get("enabled")),
        cache_disk=_cache_disk(config, project),
        autoscaled=bool(scaling.get("enabled")),
        most_nodes=most if scaling.get("enabled") else 0,
        taints=_taints(config),
    )


def with_nodes(facts: PoolFacts, nodes: Iterable[BenchNode]) -> PoolFacts:
    """FACTS with the taints that the pool's NODES have besides."""
    found = {taint for node in nodes for taint in node.taints if not taint.key.startswith(_NOT_THE_POOLS)}
    taints = tuple(sorted(found | set(facts.taints), key=lambda t: (t.key, t.value, t.effect)))
    return replace(facts, taints=taints)


def facts_from_nodes(pool: str, nodes: Sequence[BenchNode]) -> PoolFacts:
    """What the labels of POOL's NODES tell, where GKE can't be asked."""

    def told(*labels: str) -> tuple[str, ...]:
        return tuple(sorted({node.labels[label] for node in nodes for label in labels if label in node.labels}))

    disks = {
        key.partition("gke-secondary-boot-disk-")[2]: value.partition(".")[2]
        for node in nodes
        for key, value in node.labels.items()
        if "gke-secondary-boot-disk-" in key and value.startswith("CONTAINER_IMAGE_CACHE")
    }
    name = next(iter(sorted(disks)), "")
    facts = PoolFacts(
        name=pool,
        machine_type=", ".join(told("node.kubernetes.io/instance-type")),
        disk_type=", ".join(told("cloud.google.com/gke-boot-disk")),
        zones=told("topology.kubernetes.io/zone"),
        streaming=bool(told("cloud.google.com/gke-image-streaming")) if nodes else None,
        cache_disk=str(DiskImageRef(disks[name], name)) if name else "",
        known_from="nodes",
    )
    return with_nodes(facts, nodes)


def differences(pools: Sequence[PoolFacts]) -> tuple[Difference, ...]:
    """In what POOLS differ that they must not differ in; what is not known of one differs from nothing."""
    told = {
        "machine type": [pool.machine_type for pool in pools],
        "boot disk type": [pool.disk_type for pool in pools],
        "boot disk size": [f"{pool.disk_gb} GB" if pool.disk_gb else "" for pool in pools],
        "local SSDs": [str(pool.local_ssds) if pool.known_from == "gke" else "" for pool in pools],
        "zones": [", ".join(pool.zones) for pool in pools],
        "parallel pulls": [pulls_text(pool) if pool.known_from == "gke" else "" for pool in pools],
    }
    found = []
    for what, values in told.items():
        if len({value for value in values if value}) > 1:
            pairs = zip(pools, values, strict=True)
            found.append(Difference(what, tuple((pool.name, value or "unknown") for pool, value in pairs)))
    return tuple(found)


def pulls_text(pool: PoolFacts) -> str:
    """The kubelet's parallel pulls in words."""
    return str(pool.parallel_pulls) if pool.parallel_pulls else "GKE's default"


def pool_names(run: str) -> tuple[str, ...]:
    """The names of the pools that RUN makes, in the order of WAYS."""
    return tuple(f"{_PREFIX}{run}-{way}" for way in WAYS)


def run_id(who: str, now: datetime) -> str:
    """A run's id: six characters that WHO and NOW decide."""
    return hashlib.sha256(f"{who} {now.isoformat()}".encode()).hexdigest()[:6]


def made_pools(pools: Iterable[Mapping[str, Any]], run: str) -> tuple[MadePool, ...]:
    """Those of POOLS (GKE's JSON) that RUN made."""
    return tuple(
        MadePool(str(pool.get("name") or ""), str(pool.get("status") or ""), str(pool.get("statusMessage") or "")[:300])
        for pool in pools
        if _label(pool, RUN_LABEL) == run
    )


def runs_of(pools: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, float]]:
    """Run -> (its owner's namespace, epoch seconds of its end) of all POOLS (GKE's JSON) that benches made."""
    found: dict[str, tuple[str, float]] = {}
    for pool in pools:
        run, expires = _label(pool, RUN_LABEL), _label(pool, EXPIRES_LABEL)
        if re.fullmatch(r"[0-9a-f]{6}", run) and re.fullmatch(r"[0-9]{1,11}", expires):
            found[run] = (_label(pool, NAMESPACE_LABEL), float(expires))
    return found


def pool_json(
    plan: BenchPlan, run: str, name: str, like: Mapping[str, Any], namespace: str, expires: datetime
) -> dict[str, Any]:
    """The JSON that creates the pool NAME of RUN: as LIKE (GKE's JSON of another pool), in its first zone alone.

    What tells the ways apart is set: image streaming and the cache disk. It is not autoscaled.
    """
    way = name.rpartition("-")[2]
    made = copied(like, "imagecache-")
    for field in ("autoscaling", "placementPolicy", "queuedProvisioning", "initialNodeCount", "version"):
        made.pop(field, None)
    made |= {"name": name, "initialNodeCount": plan.wanted}
    if made.get("locations"):
        made["locations"] = sorted(made["locations"])[:1]
    config: dict[str, Any] = made["config"]
    for field in ("secondaryBootDisks", "reservationAffinity"):
        config.pop(field, None)
    config["gcfsConfig"] = {"enabled": way != "registry"}
    if way == "disk" and plan.disk_image is not None:
        config["secondaryBootDisks"] = [{"diskImage": str(plan.disk_image), "mode": "CONTAINER_IMAGE_CACHE"}]
    ours = {
        RUN_LABEL: run,
        NAMESPACE_LABEL: namespace,
        EXPIRES_LABEL: str(int(expires.astimezone(timezone.utc).timestamp())),
    }
    config["resourceLabels"] |= ours
    return made


def _label(pool: Mapping[str, Any], key: str) -> str:
    return str(((pool.get("config") or {}).get("resourceLabels") or {}).get(key) or "")


def _cache_disk(config: Mapping[str, Any], project: str) -> str:
    for disk in config.get("secondaryBootDisks") or ():
        if disk.get("mode") == "CONTAINER_IMAGE_CACHE":
            path = str(disk.get("diskImage") or "")
            return path if path.startswith("projects/") else f"projects/{project}/{path}"
    return ""


def _taints(config: Mapping[str, Any]) -> tuple[Taint, ...]:
    found = [
        Taint(str(one.get("key") or ""), str(one.get("value") or ""), _EFFECTS.get(str(one.get("effect")), ""))
        for one in config.get("taints") or ()
    ]
    return tuple(found + ([_GPU] if config.get("accelerators") else []))
