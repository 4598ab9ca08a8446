"""Three pools whose cache disks hold all that runs on them, so that every start is a cached one."""

from __future__ import annotations

from kubectl_imagecache.sandbox.scenarios import shelf
from kubectl_imagecache.sandbox.scenarios.stage import DiskImageSpec, PoolSpec, Stage, add_disk_image, add_pool, go_to
from kubectl_imagecache.sandbox.scenarios.workloads import Workload, add_daemons, add_system, add_workloads

VLLM = f"{shelf.VLLM}:0.6.6"
LLAMA = f"{shelf.LLAMA}:2025-12"
EMBEDDER = f"{shelf.EMBEDDER}:1.4.0"
GATEWAY = f"{shelf.GATEWAY}:7.13.2"
CHAT_UI = f"{shelf.CHAT_UI}:3.8.1"
ENVOY = f"{shelf.ENVOY}:v1.31.2"
SPARK = f"{shelf.ETL}:4.3.0"
OTEL = f"{shelf.OTEL}:0.112.0"

DISK_IMAGES = (
    DiskImageSpec("inference-2026-01", (VLLM, LLAMA, EMBEDDER, OTEL), family="inference"),
    DiskImageSpec("web-2026-01", (GATEWAY, CHAT_UI, ENVOY, OTEL), family="web"),
    DiskImageSpec("batch-2026-01", (SPARK, OTEL), family="batch", arch="arm64"),
)
POOLS = (
    PoolSpec("inference", 3, "inference-2026-01", machine_type="n1-standard-16", dedicated="inference"),
    PoolSpec("web", 2, "web-2026-01", zones=("europe-west4-a", "europe-west4-b")),
    PoolSpec("batch", 2, "batch-2026-01", machine_type="t2a-standard-8", dedicated="batch"),
)
AGENT = Workload("otel-agent", (OTEL,), kind="DaemonSet", namespace="observability", cpu="100m")
STANDING = (
    Workload("vllm-chat", (VLLM,), "inference", 2, "serving", init=(LLAMA,), cpu="8", min_available=1),
    Workload("embedder", (EMBEDDER,), "inference", 2, "serving", cpu="3"),
    Workload("api-gateway", (GATEWAY,), "web", 3, "web", sidecars=(ENVOY,), min_available=2),
)
RECENT = (
    Workload("chat-ui", (CHAT_UI,), "web", 2, "web"),
    Workload("spark-executor", (SPARK,), "batch", 2, "data"),
    Workload("etl-nightly", (SPARK,), "batch", 2, "data", kind="Job"),
)


def build(stage: Stage) -> None:
    """Fill STAGE."""
    go_to(stage, days=9)
    for disk_image in DISK_IMAGES:
        add_disk_image(stage, disk_image)
    for pool in POOLS:
        add_pool(stage, pool)
    add_system(stage)
    add_daemons(stage, AGENT)
    go_to(stage, days=8)
    add_workloads(stage, *STANDING)
    go_to(stage, minutes=40)
    add_workloads(stage, *RECENT)
    go_to(stage)
