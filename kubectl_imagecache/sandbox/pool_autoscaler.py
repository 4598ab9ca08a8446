"""A small cluster autoscaler: brings nodes to autoscaled pools when pods find none, and takes none away."""

from __future__ import annotations

from functools import partial
from typing import Any

from kubectl_imagecache.sandbox.cloud import Cloud, groups
from kubectl_imagecache.sandbox.cloud.catalogue import machine_type
from kubectl_imagecache.sandbox.cloud.errors import ApiError
from kubectl_imagecache.sandbox.cloud.links import zone_of
from kubectl_imagecache.sandbox.cloud.nodes import RESTRICTED, Placement, node
from kubectl_imagecache.sandbox.cloud.state import COMPUTE_URL, Json
from kubectl_imagecache.sandbox.kube.cluster import KubeCluster
from kubectl_imagecache.sandbox.kube.kinds import POD
from kubectl_imagecache.sandbox.kube.scheduler import node_view, selects, untolerated
from kubectl_imagecache.sandbox.kube.store import Change, condition

_SCAN_S = 10.0
"""How often the real one looks (--scan-interval)."""


class PoolAutoscaler:
    """Listens to pods of one cluster; callers hold the world's lock."""

    def __init__(self, kube: KubeCluster, cloud: Cloud, cluster_path: str) -> None:
        self._kube, self._state, self._path = kube, cloud.state, cluster_path
        self._helped: set[str] = set()
        """UIDs of pods for which a node is on its way, or came."""
        kube.on_change(self._note)

    def _note(self, change: Change) -> None:
        entry = change.new
        if change.table != "pods" or entry is None or entry.pod.node or entry.pod.phase != "Pending":
            return
        pod = entry.parsed(POD)
        if condition(pod, "PodScheduled").get("reason") != "Unschedulable":
            return
        uid = str(pod["metadata"]["uid"])
        if uid not in self._helped:
            self._helped.add(uid)
            self._state.world.clock.call_later(_SCAN_S, lambda: self._help(uid, entry.namespace, entry.name))

    def _help(self, uid: str, namespace: str, name: str) -> None:
        found = [pod for pod in self._kube.objects("Pod", namespace) if pod["metadata"]["name"] == name]
        if not found or found[0]["metadata"]["uid"] != uid or found[0]["spec"].get("nodeName"):
            return
        cluster = self._state.find(self._path)
        for pool in self._state.collection(f"{self._path}/nodePools").values():
            scaling = pool.get("autoscaling") or {}
            for group in groups.of_pool(self._state, pool) if scaling.get("enabled") and cluster else ():
                room = groups.size(self._state, group) < int(scaling.get("maxNodeCount") or 0)
                if room and cluster is not None and self._would_take(cluster, pool, group, found[0]):
                    groups.count(self._state, group, groups.size(self._state, group) + 1)
                    boot_s = self._state.timing.node_ready_s
                    self._state.world.clock.call_later(boot_s, partial(self._add, cluster, pool, group))
                    return

    def _would_take(self, cluster: Json, pool: Json, group: Json, pod: dict[str, Any]) -> bool:
        machine = machine_type(pool["config"]["machineType"])
        if machine is None:
            return False
        zone = zone_of(str(group["selfLink"]).removeprefix(COMPUTE_URL))
        at = Placement("template", self._state.project, cluster["name"], zone, "0", "10.0.0.1", 0, "")
        view = node_view(node(pool, at, machine, groups.streams(cluster, pool)))
        return selects(pod["spec"], view) and untolerated(pod["spec"], view) is None

    def _add(self, cluster: Json, pool: Json, group: Json) -> None:
        prefix = self._state.label_prefixes.get(f"{self._path}/nodePools/{pool['name']}", RESTRICTED)
        try:
            groups.add_member(self._state, cluster, pool, group, prefix)
        except ApiError as error:
            pool.update(status="RUNNING_WITH_ERROR", statusMessage=error.message)
