"""A small cluster autoscaler: brings nodes to autoscaled pools when pods find none, and takes idle ones away."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from kubectl_imagecache.sandbox.autoscaler import UNNEEDED_S, stays
from kubectl_imagecache.sandbox.cloud import Cloud, groups
from kubectl_imagecache.sandbox.cloud.catalogue import machine_type
from kubectl_imagecache.sandbox.cloud.errors import ApiError
from kubectl_imagecache.sandbox.cloud.links import zone_of
from kubectl_imagecache.sandbox.cloud.nodes import RESTRICTED, Placement, node
from kubectl_imagecache.sandbox.cloud.state import COMPUTE_URL, Json
from kubectl_imagecache.sandbox.kube.cluster import KubeCluster
from kubectl_imagecache.sandbox.kube.kinds import NODE, POD
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
        self._idle: dict[str, datetime] = {}
        """Nodes that may be idle, since when."""
        kube.on_change(self._note)

    def _note(self, change: Change) -> None:
        entry = change.new
        if change.table == NODE.table and change.old is None and entry is not None:
            self._may_be_idle(entry.name)
        elif change.table == POD.table and entry is None and change.old is not None and change.old.pod.node:
            self._may_be_idle(change.old.pod.node)
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

    def _may_be_idle(self, node: str) -> None:
        if node not in self._idle:
            self._state.world.clock.call_later(UNNEEDED_S, lambda: self._shrink(node))
        self._idle[node] = self._state.world.clock.now()

    def _shrink(self, node: str) -> None:
        """Take NODE away if it has long held nothing but pods of DaemonSets, and its pool may be smaller."""
        clock = self._state.world.clock
        left_s = UNNEEDED_S - (clock.now() - self._idle[node]).total_seconds()
        if left_s > 0:
            clock.call_later(left_s, lambda: self._shrink(node))
            return
        del self._idle[node]
        if any(pod["spec"].get("nodeName") == node and not stays(pod) for pod in self._kube.objects("Pod")):
            return
        for pool in self._state.collection(f"{self._path}/nodePools").values():
            scaling = pool.get("autoscaling") or {}
            found = groups.of_pool(self._state, pool) if scaling.get("enabled") else []
            most = sum(groups.size(self._state, group) for group in found) - int(scaling.get("totalMinNodeCount") or 0)
            for group in found:
                spare = groups.size(self._state, group) - int(scaling.get("minNodeCount") or 0)
                for instance in groups.members(self._state, group) if min(most, spare) > 0 else ():
                    if instance["name"] == node:
                        groups.remove_member(self._state, group, instance)
                        groups.count(self._state, group, groups.size(self._state, group))

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
