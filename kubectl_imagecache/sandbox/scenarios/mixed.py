"""Eight pools of every verdict, on two CPU architectures, one of them scaled to zero."""

from __future__ import annotations

from kubectl_imagecache.sandbox.scenarios import shelf
from kubectl_imagecache.sandbox.scenarios.stage import DiskImageSpec, PoolSpec, Stage, add_disk_image, add_pool, go_to
from kubectl_imagecache.sandbox.scenarios.workloads import Workload, add_system, add_workloads

VLLM = f"{shelf.VLLM}:0.6.6"
LLAMA = f"{shelf.LLAMA}:2025-12"
EMBEDDER = f"{shelf.EMBEDDER}:1.4.0"
RERANKER = f"{shelf.RERANKER}:2.1.0"
GATEWAY = f"{shelf.GATEWAY}:7.13.2"
CHAT_UI = f"{shelf.CHAT_UI}:3.8.1"
SPARK = f"{shelf.ETL}:4.3.0"
TRAINER = f"{shelf.TRAINER}:2025.11"
NOTEBOOK = f"{shelf.NOTEBOOK}:cuda12-2025-12-01"
PLUGINS = f"{shelf.PLUGINS}:0.9.4"

DISK_IMAGES = (
    DiskImageSpec("llm-7f3a", (VLLM, LLAMA), family="llm"),
    DiskImageSpec("embed-51c0", (f"{shelf.EMBEDDER}:1.3.0",), family="embed"),
    DiskImageSpec("web-amd64-2b", (GATEWAY, CHAT_UI), family="web-amd64"),
    DiskImageSpec("web-arm64-2b", (f"{shelf.GATEWAY}:7.12.0", CHAT_UI), family="web-arm64", arch="arm64"),
    DiskImageSpec("spark-20251103", (SPARK,), recorded=False),
    DiskImageSpec("notebooks-0a", (NOTEBOOK,), family="notebooks"),
    DiskImageSpec("trainer-99", (TRAINER,), family="trainer"),
)
POOLS = (
    PoolSpec("llm", 3, "llm-7f3a", machine_type="n1-standard-16", dedicated="llm"),
    PoolSpec("embed", 2, "embed-51c0", machine_type="n1-standard-16", dedicated="embed"),
    PoolSpec("web-amd64", 2, "web-amd64-2b", zones=("europe-west4-a", "europe-west4-b")),
    PoolSpec("web-arm64", 2, "web-arm64-2b", machine_type="t2a-standard-8", dedicated="web-arm64"),
    PoolSpec("spark", 2, "spark-20251103", dedicated="spark"),
    PoolSpec("notebooks", 1, "notebooks-0a", mode=None, dedicated="notebooks"),
    PoolSpec("trainer", 0, "trainer-99", machine_type="n1-standard-32", dedicated="trainer"),
    PoolSpec("default-pool", 2, machine_type="e2-standard-4", streaming=False),
)
STANDING = (
    Workload("llm-chat", (VLLM,), "llm", 3, "serving", init=(LLAMA,), cpu="8", min_available=2),
    Workload("embedder", (EMBEDDER,), "embed", 2, "serving", cpu="6"),
    Workload("api-gateway", (GATEWAY,), "web-amd64", 2, "web"),
    Workload("chat-ui", (CHAT_UI,), "web-amd64", 2, "web"),
    Workload("notebook", (NOTEBOOK,), "notebooks", 1, "research", kind="StatefulSet"),
    Workload("tool-plugins", (PLUGINS,), "default-pool", 1, "serving"),
)
RECENT = (
    Workload("reranker", (RERANKER,), "embed", 1, "serving", cpu="3"),
    Workload("api-gateway-arm", (GATEWAY, CHAT_UI), "web-arm64", 2, "web"),
    Workload("spark-executor", (SPARK,), "spark", 2, "data"),
    Workload("etl", (SPARK,), "spark", 2, "data", kind="Job"),
    # Waits for a pool that is scaled to zero.
    Workload("finetune", (TRAINER,), "trainer", 1, "research", kind="Job", cpu="16"),
)


def build(stage: Stage) -> None:
    """Fill STAGE."""
    go_to(stage, days=25)
    for disk_image in DISK_IMAGES:
        add_disk_image(stage, disk_image)
    for pool in POOLS:
        add_pool(stage, pool)
    add_system(stage)
    go_to(stage, days=20)
    add_workloads(stage, *STANDING)
    go_to(stage, minutes=45)
    add_workloads(stage, *RECENT)
    go_to(stage)
