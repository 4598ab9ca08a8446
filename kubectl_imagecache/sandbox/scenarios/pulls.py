"""One 2 GB image pulled in three ways: on pools with no cache, with image streaming, with a cache disk."""

from __future__ import annotations

from dataclasses import replace

from kubectl_imagecache.sandbox.catalog import ImageSpec, LayerSpec
from kubectl_imagecache.sandbox.scenarios import shelf
from kubectl_imagecache.sandbox.scenarios.stage import DiskImageSpec, PoolSpec, Stage, add_disk_image, add_pool, go_to
from kubectl_imagecache.sandbox.scenarios.workloads import Workload, add_system, add_workloads

_MB = 1_000_000
SERVER = f"{shelf.ACME}/serving/model-server"
MODEL_SERVER = f"{SERVER}:1.0"
"""2 GB compressed, in five layers."""
SIZES = (29, 120, 741, 1010, 100)
"""Of its layers, compressed, MB."""
DISK = DiskImageSpec("model-server-2026-01", (MODEL_SERVER,), family="model-server")
POOLS = (
    PoolSpec("plain", 4, streaming=False),
    PoolSpec("streaming", 4),
    PoolSpec("cached", 4, DISK.name),
    PoolSpec("default-pool", 1, machine_type="e2-standard-4", streaming=False),
)
NODES = 4
"""Of each of the three pools; each runs one server."""
KUBELET_S = 24.0
"""From a node's registering until it is Ready."""
FIRST_DISK_S = 31.0
"""So much longer with the first disk of a disk image in its zone. Made up: no public figure is known to us."""


def build(stage: Stage) -> None:
    """Fill STAGE."""
    layers = tuple(LayerSpec(f"model-server/{n}", mb * _MB, mb * _MB * 5 // 2) for n, mb in enumerate(SIZES))
    go_to(stage, days=1)
    stage.catalog.publish(ImageSpec(SERVER, "1.0", layers))
    add_disk_image(stage, DISK)
    add_pool(stage, POOLS[-1])
    add_system(stage)
    usual = stage.cloud.state.timing
    stage.cloud.state.timing = replace(usual, kubelet_s=KUBELET_S, first_disk_s=FIRST_DISK_S)
    # Each server waits for a node of its own, as where an autoscaler adds one for every pod that finds none; each
    # pool's first node has the image before the next one asks for it.
    for pool, minutes in zip(POOLS[:3], (52, 38, 24), strict=True):
        go_to(stage, minutes=minutes)
        add_pool(stage, replace(pool, nodes=0))
        for number in range(NODES):
            name = f"server-{pool.name}-{number}"
            go_to(stage, minutes=minutes - 2 * number)
            add_workloads(stage, Workload(name, (MODEL_SERVER,), pool.name, 1, "serving", cpu="5", tolerant=False))
            stage.cloud.grow_pool(stage.cluster, pool.name, number + 1)
    stage.cloud.state.timing = usual
    go_to(stage, minutes=12)
    add_workloads(stage, Workload("typo", (f"{SERVER}:1.O",), "plain", 1, "serving"))
    go_to(stage)
