"""A ComputeClass whose nodes, made by the autoscaler, have a cache disk that fell behind."""

from __future__ import annotations

from typing import Any

from kubectl_imagecache.core import compute_class as kinds
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.sandbox.scenarios import shelf
from kubectl_imagecache.sandbox.scenarios.stage import (
    PROJECT,
    DiskImageSpec,
    PoolSpec,
    Stage,
    add_disk_image,
    add_pool,
    go_to,
)
from kubectl_imagecache.sandbox.scenarios.workloads import Workload, add_system, add_workloads

NAME = "models"
OLD = DiskImageSpec("models-2025-12", (f"{shelf.EMBEDDER}:1.3.0",), family="models")
NEW = DiskImageSpec("models-2026-01", (f"{shelf.EMBEDDER}:1.4.0",), family="models")
SERVING = Workload(
    "embedder", (f"{shelf.EMBEDDER}:1.4.0",), "", 3, "serving", cpu="5", min_available=2, compute_class=NAME
)


def build(stage: Stage) -> None:
    """Fill STAGE."""
    go_to(stage, days=20)
    add_disk_image(stage, OLD)
    add_pool(stage, PoolSpec("default-pool", 1, machine_type="e2-standard-4", streaming=False))
    add_system(stage)
    stage.kube.create(_class())
    spec = {"allowedResourcePatterns": [kinds.exactly(DiskImageRef(PROJECT, OLD.name))]}
    allowlist = {"apiVersion": kinds.ALLOWLIST_API, "kind": kinds.ALLOWLIST_KIND, "metadata": {"name": "disks"}}
    stage.kube.create({**allowlist, "spec": spec})
    add_workloads(stage, SERVING)
    go_to(stage, days=6)
    add_disk_image(stage, NEW)
    go_to(stage)


def _class() -> dict[str, Any]:
    disk = {"diskImageName": OLD.name, "project": PROJECT, "mode": kinds.CACHE}
    rule = {"machineFamily": "n2", "storage": {"secondaryBootDisks": [disk]}}
    spec = {"nodePoolAutoCreation": {"enabled": True}, "priorities": [rule]}
    return {"apiVersion": kinds.API, "kind": kinds.KIND, "metadata": {"name": NAME}, "spec": spec}
