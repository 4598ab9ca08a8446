"""What a sandbox can be filled with: one module a scenario, imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from kubectl_imagecache.core.errors import BadUsage

if TYPE_CHECKING:
    from kubectl_imagecache.sandbox.scenarios.stage import Stage

SCENARIOS = {
    "stale": "four pools that fell behind, each in other ways; what --sandbox shows by default",
    "healthy": "three pools whose cache disks hold all that runs",
    "unknown": "disk images that don't say what they hold: built by Google's builder, by a newer version, damaged",
    "mixed": "eight pools of every verdict, two CPU architectures, one scaled to zero",
    "broken": "a pool for each way in which a cache disk can be no use at all",
    "pulls": "one 2 GB image on three pools: pulled from the registry, streamed, read from a cache disk",
    "bench": "the same three pools with fresh nodes: for `bench`",
    "classes": "nodes that a ComputeClass makes, their cache disk out of date: for `roll --compute-class`",
    "empty": "a new cluster: no cache disks, nothing running but the system",
    "huge": "1,000 nodes and 20,000 pods, or as many as --nodes and --pods say",
}
"""Name -> what it shows."""
DEFAULT = "stale"


def check(name: str) -> str:
    """NAME, or raise BadUsage if there is no such scenario."""
    if name not in SCENARIOS:
        raise BadUsage(f"no sandbox scenario {name!r}", f"there are {', '.join(SCENARIOS)}")
    return name


def build(name: str, stage: Stage) -> None:
    """Fill STAGE with a scenario; raise BadUsage if there is none of that name."""
    importlib.import_module(f"{__name__}.{check(name)}").build(stage)
