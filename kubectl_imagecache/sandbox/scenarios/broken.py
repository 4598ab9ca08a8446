"""A pool for each way in which a cache disk can be no use, or soon will be; its name says what is wrong with it."""

from __future__ import annotations

from kubectl_imagecache.sandbox.scenarios import shelf
from kubectl_imagecache.sandbox.scenarios.stage import (
    DiskImageSpec,
    PoolSpec,
    Stage,
    add_disk_image,
    add_pool,
    deprecate,
    fail,
    go_to,
)
from kubectl_imagecache.sandbox.scenarios.workloads import Workload, add_system, add_workloads

GATEWAY = f"{shelf.GATEWAY}:7.13.2"

FINE = "web-2026-01"
LONG = "web-with-a-name-that-does-not-fit-in-a-node-label"
DISK_IMAGES = (
    DiskImageSpec(FINE, (GATEWAY,), family="web"),
    DiskImageSpec(LONG, (GATEWAY,), family="web-long"),
    DiskImageSpec("web-arm64", (GATEWAY,), family="web-arm64", arch="arm64"),
    *(DiskImageSpec(f"web-{fate}", (GATEWAY,)) for fate in ("gone", "failed", "obsolete", "deprecated", "recreated")),
)
POOLS = (
    PoolSpec("image-gone", 1, "web-gone"),
    PoolSpec("image-failed", 1, "web-failed"),
    PoolSpec("image-obsolete", 1, "web-obsolete"),
    PoolSpec("image-deprecated", 1, "web-deprecated"),
    PoolSpec("image-recreated", 2, "web-recreated"),
    PoolSpec("no-mode", 1, FINE, mode=None),
    PoolSpec("no-streaming", 1, FINE, streaming=False),
    PoolSpec("old-version", 1, FINE, version="1.27.16-gke.1296000"),
    PoolSpec("old-for-ubuntu", 1, FINE, image_type="UBUNTU_CONTAINERD"),
    PoolSpec("long-name", 1, LONG),
    PoolSpec("half-labelled", 2, FINE, unlabelled=1),
    PoolSpec("wrong-arch", 1, "web-arm64"),
)


def build(stage: Stage) -> None:
    """Fill STAGE."""
    go_to(stage, days=12)
    for disk_image in DISK_IMAGES:
        add_disk_image(stage, disk_image)
    for pool in POOLS:
        add_pool(stage, pool)
    add_system(stage)
    go_to(stage, days=4)
    # The pools were made while all was well; what follows befell their disk images.
    stage.cloud.remove_image("web-gone")
    fail(stage, "web-failed")
    deprecate(stage, "web-obsolete", "OBSOLETE")
    deprecate(stage, "web-deprecated", "DEPRECATED", FINE)
    add_disk_image(stage, DiskImageSpec("web-recreated", (GATEWAY,)))
    go_to(stage, minutes=30)
    add_workloads(stage, *(Workload(f"web-{pool.name}", (GATEWAY,), pool.name, pool.nodes, "web") for pool in POOLS))
    go_to(stage)
