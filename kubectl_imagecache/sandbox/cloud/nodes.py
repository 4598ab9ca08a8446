"""Kubernetes Node objects as GKE makes them for a node pool."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kubectl_imagecache.sandbox.cloud.catalogue import MachineType
from kubectl_imagecache.sandbox.cloud.links import region_of, resolve, short
from kubectl_imagecache.sandbox.cloud.state import Json

RESTRICTED = "cloud.google.com.node-restriction.kubernetes.io"
"""The usual prefix of the cache disk's label."""
PLAIN = "cloud.google.com"
"""The other spelling."""

_EFFECTS = {"NO_SCHEDULE": "NoSchedule", "PREFER_NO_SCHEDULE": "PreferNoSchedule", "NO_EXECUTE": "NoExecute"}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a node is, and what it is called."""

    name: str
    project: str
    cluster: str
    zone: str
    instance_id: str
    address: str
    """Internal IP."""
    index: int
    """Counts all nodes of the sandbox; its pod range follows from it."""
    created: str
    """RFC 3339, in UTC, to the second."""


def cache_disks(pool: Json, project: str) -> list[str]:
    """Paths of the disk images that POOL's nodes use as image caches; plain data disks don't count."""
    return [path for path, mode in secondary_disks(pool, project) if mode == "CONTAINER_IMAGE_CACHE"]


def secondary_disks(pool: Json, project: str) -> list[tuple[str, str]]:
    """Path and mode of each secondary boot disk of POOL."""
    return [
        (resolve(str(disk.get("diskImage", "")), project, "global/images"), str(disk.get("mode", "MODE_UNSPECIFIED")))
        for disk in pool.get("config", {}).get("secondaryBootDisks", [])
    ]


def node(pool: Json, at: Placement, machine: MachineType, streaming: bool, label_prefix: str = RESTRICTED) -> Json:
    """A Ready node of POOL; LABEL_PREFIX is the spelling of the cache disk's label, empty leaves the label out."""
    config = pool.get("config", {})
    version = str(pool["version"])
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": at.name,
            "creationTimestamp": at.created,
            "labels": labels(pool, at, machine, streaming, label_prefix),
            "annotations": {
                "container.googleapis.com/instance_id": at.instance_id,
                "node.gke.io/last-applied-node-labels": f"cloud.google.com/gke-nodepool={pool['name']}",
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
        },
        "spec": {
            "podCIDR": f"10.{4 + at.index // 256}.{at.index % 256}.0/24",
            "podCIDRs": [f"10.{4 + at.index // 256}.{at.index % 256}.0/24"],
            "providerID": f"gce://{at.project}/{at.zone}/{at.name}",
        }
        | _taints(config, machine),
        "status": {
            "capacity": _capacity(config, machine),
            "allocatable": _allocatable(config, machine),
            "conditions": _conditions(at.created),
            "addresses": [
                {"type": "InternalIP", "address": at.address},
                {"type": "Hostname", "address": at.name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "architecture": machine.arch,
                "bootID": at.instance_id,
                "containerRuntimeVersion": containerd(version),
                "kernelVersion": "6.1.112+",
                "kubeProxyVersion": f"v{version}",
                "kubeletVersion": f"v{version}",
                "machineID": at.instance_id,
                "operatingSystem": "linux",
                "osImage": _os_image(config),
                "systemUUID": at.instance_id,
            },
        },
    }


def labels(pool: Json, at: Placement, machine: MachineType, streaming: bool, label_prefix: str) -> dict[str, str]:
    """The labels of a node of POOL, the pool's own included."""
    config = pool.get("config", {})
    region = region_of(at.zone)
    found = {
        "beta.kubernetes.io/arch": machine.arch,
        "beta.kubernetes.io/instance-type": machine.name,
        "beta.kubernetes.io/os": "linux",
        "cloud.google.com/gke-boot-disk": str(config.get("diskType", "pd-balanced")),
        "cloud.google.com/gke-container-runtime": "containerd",
        "cloud.google.com/gke-cpu-scaling-level": str(machine.cpus),
        "cloud.google.com/gke-logging-variant": "DEFAULT",
        "cloud.google.com/gke-max-pods-per-node": str(_max_pods(pool)),
        "cloud.google.com/gke-memory-gb-scaling-level": str(machine.memory_mb // 1024),
        "cloud.google.com/gke-nodepool": str(pool["name"]),
        "cloud.google.com/gke-os-distribution": "ubuntu" if _ubuntu(config) else "cos",
        "cloud.google.com/gke-provisioning": "spot" if config.get("spot") else "standard",
        "cloud.google.com/gke-stack-type": "IPV4",
        "cloud.google.com/machine-family": machine.name.partition("-")[0],
        "failure-domain.beta.kubernetes.io/region": region,
        "failure-domain.beta.kubernetes.io/zone": at.zone,
        "kubernetes.io/arch": machine.arch,
        "kubernetes.io/hostname": at.name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": machine.name,
        "topology.gke.io/zone": at.zone,
        "topology.kubernetes.io/region": region,
        "topology.kubernetes.io/zone": at.zone,
    }
    if streaming:
        found["cloud.google.com/gke-image-streaming"] = "true"
    if config.get("spot"):
        found["cloud.google.com/gke-spot"] = "true"
    for path in cache_disks(pool, at.project) if label_prefix else []:
        key = f"gke-secondary-boot-disk-{short(path)}"
        value = f"CONTAINER_IMAGE_CACHE.{path.split('/')[1]}"
        # Kubernetes takes no longer name part, and no `:` in a value: such a disk can't be shown.
        if len(key) <= 63 and re.fullmatch(r"[A-Za-z0-9_.-]{1,63}", value):
            found[f"{label_prefix}/{key}"] = value
    return found | {key: str(value) for key, value in config.get("labels", {}).items()}


def containerd(version: str) -> str:
    """The container runtime of a GKE VERSION (`1.30.5-gke.1443001`)."""
    minor = int(version.split(".")[1])
    return "containerd://2.0.6" if minor >= 33 else "containerd://1.7.24" if minor >= 29 else "containerd://1.7.10"


def _ubuntu(config: Json) -> bool:
    return "UBUNTU" in str(config.get("imageType", "")).upper()


def _os_image(config: Json) -> str:
    return "Ubuntu 22.04.5 LTS" if _ubuntu(config) else "Container-Optimized OS from Google"


def _max_pods(pool: Json) -> int:
    return int(pool.get("maxPodsConstraint", {}).get("maxPodsPerNode", 110))


def _taints(config: Json, machine: MachineType) -> Json:
    taints = [
        {
            "key": taint["key"],
            "value": taint.get("value", ""),
            "effect": _EFFECTS.get(taint.get("effect"), "NoSchedule"),
        }
        for taint in config.get("taints", [])
    ]
    if machine.arch == "arm64":
        # GKE keeps pods that don't ask for Arm off such nodes.
        taints.append({"key": "kubernetes.io/arch", "value": "arm64", "effect": "NoSchedule"})
    return {"taints": taints} if taints else {}


def _capacity(config: Json, machine: MachineType) -> dict[str, str]:
    disk_kib = int(config.get("diskSizeGb", 100)) * 1024 * 1024 * 47 // 50
    # The kernel keeps some 2 % of the memory to itself.
    return {
        "cpu": str(machine.cpus),
        "ephemeral-storage": f"{disk_kib}Ki",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "memory": f"{machine.memory_mb * 1024 * 98 // 100}Ki",
        "pods": "110",
    }


def _allocatable(config: Json, machine: MachineType) -> dict[str, str]:
    capacity = _capacity(config, machine)
    memory_kib = int(capacity["memory"].removesuffix("Ki")) - _reserved_mb(machine.memory_mb) * 1024
    disk_bytes = int(capacity["ephemeral-storage"].removesuffix("Ki")) * 1024 // 2
    return capacity | {
        "cpu": f"{machine.cpus * 1000 - _reserved_millis(machine.cpus)}m",
        "ephemeral-storage": str(disk_bytes),
        "memory": f"{memory_kib}Ki",
    }


def _reserved_mb(total_mb: int) -> int:
    """What GKE reserves, MiB: 25 % of the first 4 GiB, 20, 10, 6 and 2 % of the next, and 100 for eviction.

    https://cloud.google.com/kubernetes-engine/docs/concepts/plan-node-sizes
    """
    reserved, left = 100.0, float(total_mb)
    for size, share in ((4096, 0.25), (4096, 0.20), (8192, 0.10), (114688, 0.06), (float("inf"), 0.02)):
        part = min(left, size)
        reserved, left = reserved + part * share, left - part
    return int(reserved)


def _reserved_millis(cpus: int) -> int:
    """What GKE reserves, thousandths of a CPU: 6 % of the first, 1 % of the second, 0.5 % of two more, then 0.25 %."""
    return int(60 + (10 if cpus > 1 else 0) + 5 * max(0, min(cpus, 4) - 2) + 2.5 * max(0, cpus - 4))


def _conditions(since: str) -> list[Json]:
    healthy = (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("NetworkUnavailable", "False", "RouteCreated", "NodeController create implicit route"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    )
    return [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": since,
            "lastTransitionTime": since,
        }
        for kind, status, reason, message in healthy
    ]
