"""`roll --emit`: read what a roll of a pool makes of it; nothing is changed."""

from __future__ import annotations

from kubectl_imagecache.clients.gke_roll import RollGke, roll_pool
from kubectl_imagecache.core import roll_pool as names
from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.emit import Replacement
from kubectl_imagecache.core.errors import BadUsage, NotFound
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.usecases.roll_observe import no_pool


def replacement(gke: RollGke, clock: Clock, pool: str, disk: DiskImageRef | None) -> Replacement:
    """The successor of POOL, the one that a roll has made, else the one that it would make with DISK.

    Raises NotFound without such a pool, BadUsage if no disk image is named or the successor has another, and what the
    clients raise.
    """
    target = gke.target
    cluster = gke.cluster()
    pools = {str(found.get("name")): found for found in cluster.get("nodePools") or ()}
    made = names.successors(pools, pool)
    if made:
        found = pools[made[-1]]
        disks = roll_pool(found, 0, target.project).disks
        if disk is not None and disk not in disks:
            raise BadUsage(f"{made[-1]}, made by a roll of {pool}, does not have {disk.name}", "leave --disk-image out")
        kept = disk or disks[-1]
        lasting = names.lasting(found)
        return Replacement(target.project, target.location, target.name, pool, lasting, kept, exists=True)
    if pool not in pools:
        raise no_pool(pool, cluster)
    if disk is None:
        raise BadUsage(f"no roll of {pool} is under way, so its next disk image is not known", "name it: --disk-image")
    old = pools[pool]
    if not names.groups_of(old):
        raise NotFound(f"GKE names no instance groups of {pool}", "wait until it is RUNNING, and try again")
    per_zone = max(gke.sizes(old), default=0)
    name = names.successor(pool, pools)
    made_up = names.lasting(names.clone(old, name, disk, per_zone, gke.versions(), clock.now()))
    return Replacement(target.project, target.location, target.name, pool, made_up, disk, exists=False)
