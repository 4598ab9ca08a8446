"""Read what tells whether there is room for a roll's new nodes; nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kubectl_imagecache.core.errors import NotPermitted
from kubectl_imagecache.core.roll import RollPod
from kubectl_imagecache.core.roll_room import Room, Volume, pod_range
from kubectl_imagecache.usecases.roll_tools import Tools


def room(tools: Tools, cluster: Mapping[str, Any], pool: Mapping[str, Any], pods: Sequence[RollPod]) -> Room:
    """What POOL of CLUSTER (GKE's JSON), with PODS, has; raises what the clients raise."""
    return Room(
        sizes=tools.gke.sizes(pool),
        zones=frozenset(str(zone) for zone in pool.get("locations") or ()),
        autoscaled=bool((pool.get("autoscaling") or {}).get("enabled")),
        volumes=volumes(tools, pods),
        pod_range=pod_range(cluster, pool),
    )


def volumes(tools: Tools, pods: Sequence[RollPod]) -> tuple[Volume, ...] | None:
    """Volumes that claims of PODS may be bound to; None if they may not be read. Raises what Transport.get raises."""
    if not any(pod.claims for pod in pods):
        return ()
    try:
        return tuple(tools.kube.volumes())
    except NotPermitted:
        return None  # Shown as a warning.
