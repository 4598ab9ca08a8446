"""Disk images that don't tell what they hold: no record, a record of a newer version, a damaged one."""

from __future__ import annotations

from kubectl_imagecache.sandbox.scenarios import shelf
from kubectl_imagecache.sandbox.scenarios.stage import DiskImageSpec, PoolSpec, Stage, add_disk_image, add_pool, go_to
from kubectl_imagecache.sandbox.scenarios.workloads import Workload, add_system, add_workloads

VLLM = f"{shelf.VLLM}:0.6.3"
GATEWAY = f"{shelf.GATEWAY}:7.12.0"
SPARK = f"{shelf.ETL}:4.2.1"

DISK_IMAGES = (
    DiskImageSpec("google-built", (VLLM,), family="secondary-disk-image", recorded=False),
    DiskImageSpec("from-the-future", (GATEWAY,), description="1 container image.\nimagecache:7:AAAA\n"),
    DiskImageSpec("edited-by-hand", (SPARK,), description="1 container image.\nimagecache:1:bm90IGEgcmVjb3Jk\n"),
)
POOLS = (
    PoolSpec("inference", 2, "google-built", machine_type="n1-standard-16"),
    PoolSpec("web", 2, "from-the-future"),
    PoolSpec("batch", 1, "edited-by-hand"),
)
WORKLOADS = (
    Workload("vllm-chat", (VLLM,), "inference", 2, "serving", cpu="8"),
    Workload("api-gateway", (GATEWAY,), "web", 2, "web"),
    Workload("etl", (SPARK,), "batch", 1, "data"),
)


def build(stage: Stage) -> None:
    """Fill STAGE."""
    go_to(stage, days=20)
    for disk_image in DISK_IMAGES:
        add_disk_image(stage, disk_image)
    for pool in POOLS:
        add_pool(stage, pool)
    add_system(stage)
    go_to(stage, minutes=30)
    add_workloads(stage, *WORKLOADS)
    go_to(stage)
