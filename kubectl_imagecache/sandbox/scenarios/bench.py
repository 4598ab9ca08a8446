"""Three pools that pull in three ways, alike in all else, and a 2 GB image that none of their nodes has yet."""

from __future__ import annotations

from kubectl_imagecache.sandbox.catalog import ImageSpec, LayerSpec
from kubectl_imagecache.sandbox.scenarios.pulls import DISK, SERVER, SIZES
from kubectl_imagecache.sandbox.scenarios.stage import PoolSpec, Stage, add_disk_image, add_pool, go_to
from kubectl_imagecache.sandbox.scenarios.workloads import add_system

_MB = 1_000_000
NODES = 4
"""Of each of the three pools."""
MOST = 8
"""Their autoscalers' limit."""
POOLS = (
    PoolSpec("default-pool", 1, machine_type="e2-standard-4", streaming=False),
    PoolSpec("plain", NODES, streaming=False, most=MOST),
    PoolSpec("streaming", NODES, most=MOST),
    PoolSpec("cached", NODES, DISK.name, most=MOST),
)


def build(stage: Stage) -> None:
    """Fill STAGE."""
    layers = tuple(LayerSpec(f"model-server/{n}", mb * _MB, mb * _MB * 5 // 2) for n, mb in enumerate(SIZES))
    stage.autoscaled = True
    go_to(stage, days=1)
    stage.catalog.publish(ImageSpec(SERVER, "1.0", layers))
    add_disk_image(stage, DISK)
    for pool in POOLS:
        add_pool(stage, pool)
    add_system(stage)
    go_to(stage)
