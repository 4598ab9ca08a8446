"""Which nodes had the first cache disk of their disk image in a zone."""

from __future__ import annotations

from collections.abc import Iterable

from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.pull_records import NodeRecord


def first_disk_nodes(nodes: Iterable[NodeRecord]) -> frozenset[str]:
    """Names of the nodes whose cache disk is the oldest of its disk image in the zone, among NODES.

    Compute makes the first disk from an image in a zone more slowly than the next ones; nodes that are gone can't be
    told, so that in an old pool the first one here may not have been the first of all.
    """
    oldest: dict[tuple[DiskImageRef, str], NodeRecord] = {}
    for node in nodes:
        if node.created is None:
            continue
        for disk in node.cache_disks:
            known = oldest.get((disk, node.zone))
            if known is None or (node.created, node.name) < (known.created or 0.0, known.name):
                oldest[disk, node.zone] = node
    return frozenset(node.name for node in oldest.values())
