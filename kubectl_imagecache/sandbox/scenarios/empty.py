"""A new cluster: one pool, no cache disk, nothing running but the system."""

from __future__ import annotations

from kubectl_imagecache.sandbox.scenarios.stage import PoolSpec, Stage, add_pool, go_to
from kubectl_imagecache.sandbox.scenarios.workloads import add_system


def build(stage: Stage) -> None:
    """Fill STAGE."""
    go_to(stage, minutes=90)
    add_pool(stage, PoolSpec("default-pool", 2, machine_type="e2-standard-4", streaming=False))
    add_system(stage)
    go_to(stage)
