"""Four pools that fell behind: a moved tag, new tags, images that the disk lacks, disk images out of date."""

from __future__ import annotations

from kubectl_imagecache.sandbox.cloud.nodes import PLAIN
from kubectl_imagecache.sandbox.scenarios import shelf
from kubectl_imagecache.sandbox.scenarios.stage import (
    DiskImageSpec,
    PoolSpec,
    Stage,
    add_disk_image,
    add_pool,
    deprecate,
    go_to,
)
from kubectl_imagecache.sandbox.scenarios.workloads import Workload, add_daemons, add_system, add_workloads

VLLM_PROD = f"{shelf.VLLM}:prod"
LLAMA = f"{shelf.LLAMA}:2025-09"
TRITON = f"{shelf.TRITON}:24.10-py3"
RERANKER = f"{shelf.RERANKER}:2.1.0"
CHAT_UI = f"{shelf.CHAT_UI}:3.8.1"
BILLING = f"{shelf.BILLING}:1.22.0"
ENVOY = f"{shelf.ENVOY}:v1.31.2"
OTEL = f"{shelf.OTEL}:0.112.0"
SQL_PROXY = f"{shelf.SQL_PROXY}:2.13.0"
CLOUD_SDK = f"{shelf.CLOUD_SDK}:502.0.0-slim"
EVALS = f"{shelf.EVALS}:2026.01"

# Triton is cached and used by nobody.
INFERENCE = DiskImageSpec(
    "inference-2025-12", (VLLM_PROD, f"{shelf.EMBEDDER}:1.3.0", LLAMA, TRITON, OTEL), family="inference"
)
WEB = DiskImageSpec("web-2025-11", (f"{shelf.GATEWAY}:7.12.0", CHAT_UI, ENVOY, OTEL), family="web")
BATCH = DiskImageSpec("batch-spark", (f"{shelf.ETL}:4.2.1", EVALS, OTEL), family="batch")
POOLS = (
    PoolSpec("inference", 3, INFERENCE.name, machine_type="n1-standard-16", dedicated="inference"),
    PoolSpec("web", 2, WEB.name, zones=("europe-west4-a", "europe-west4-b"), label_prefix=PLAIN),
    PoolSpec("batch", 3, BATCH.name, dedicated="batch", unlabelled=1),
    PoolSpec("default-pool", 1, machine_type="e2-standard-4", streaming=False),
)
AGENT = Workload("otel-agent", (OTEL,), kind="DaemonSet", namespace="observability", cpu="100m")
STANDING = (
    Workload("vllm-chat", (VLLM_PROD,), "inference", 2, "serving", init=(LLAMA,), cpu="7", min_available=2),
    Workload("api-gateway", (f"{shelf.GATEWAY}:7.13.2",), "web", 3, "web", sidecars=(ENVOY,), min_available=2),
    Workload("chat-ui", (CHAT_UI,), "web", 2, "web"),
    Workload("redis", (f"{shelf.REDIS}:7.4.1-alpine",), "default-pool", kind="StatefulSet", namespace="web"),
    # Nothing runs of these two now.
    Workload("evals", (EVALS,), "batch", kind="CronJob", namespace="research", schedule="0 3 * * 1"),
    Workload("notebook", (f"{shelf.NOTEBOOK}:cuda12-2025-12-01",), "batch", 0, "research"),
)
RECENT = (
    Workload("vllm-chat-canary", (VLLM_PROD,), "inference", 1, "serving", init=(LLAMA,), cpu="7"),
    Workload("embedder", (f"{shelf.EMBEDDER}:1.4.0",), "inference", 2, "serving", cpu="3"),
    Workload("reranker", (RERANKER,), "inference", 1, "serving", cpu="3"),
    Workload("billing", (BILLING, SQL_PROXY), "web", 2, "web"),
    Workload("spark-executor", (f"{shelf.ETL}:4.3.0",), "batch", 3, "data", init=(CLOUD_SDK,)),
    Workload("etl-hourly", (f"{shelf.ETL}:4.3.0",), "batch", 2, "data", kind="Job"),
)
# More than the pool has room for: some of its pods stay Pending.
TOO_MUCH = Workload("vllm-batch", (VLLM_PROD,), "inference", 4, "serving", cpu="7")


def build(stage: Stage) -> None:
    """Fill STAGE."""
    go_to(stage, days=38)
    for disk_image in (INFERENCE, WEB, BATCH):
        add_disk_image(stage, disk_image)
    go_to(stage, days=36)
    for pool in POOLS:
        add_pool(stage, pool)
    add_system(stage)
    add_daemons(stage, AGENT)
    add_workloads(stage, *STANDING)
    go_to(stage, days=6)
    for image in shelf.NEW_PROD:
        stage.catalog.publish(image)
    add_disk_image(stage, DiskImageSpec("inference-2026-01", (VLLM_PROD, LLAMA, OTEL), family="inference"))
    add_disk_image(stage, DiskImageSpec("web-2026-01", WEB.images, family="web"))
    deprecate(stage, WEB.name, "DEPRECATED", "web-2026-01")
    add_disk_image(stage, BATCH)
    go_to(stage, minutes=50)
    add_workloads(stage, *RECENT)
    go_to(stage, minutes=20)
    add_workloads(stage, TOO_MUCH)
    go_to(stage)
