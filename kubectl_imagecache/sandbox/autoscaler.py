"""The autoscaler as far as ComputeClasses go: it makes nodes for pods that select a class, and removes empty ones."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kubectl_imagecache.core import compute_class as classes
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.sandbox.cloud import Cloud, groups, pools
from kubectl_imagecache.sandbox.cloud.errors import ApiError
from kubectl_imagecache.sandbox.cloud.nodes import RESTRICTED
from kubectl_imagecache.sandbox.cloud.state import Json, run
from kubectl_imagecache.sandbox.http import World
from kubectl_imagecache.sandbox.kube.cluster import KubeCluster
from kubectl_imagecache.sandbox.kube.store import Change

LOOK_S = 10.0
"""Between two looks at what waits and what is empty."""
UNNEEDED_S = 600.0
"""How long a node is empty before it goes, as GKE's default has it."""
_CLASSES = "computeclasses.cloud.google.com"
_TABLES = ("pods", _CLASSES, "gcpresourceallowlists.node.gke.io")


class Autoscaler:
    """Watches one cluster; sleeps while nothing waits and nothing is empty. Plays no taints, limits or priorities."""

    def __init__(self, world: World, kube: KubeCluster, cloud: Cloud, cluster: str) -> None:
        self._world, self._kube, self._cloud, self._cluster = world, kube, cloud, cluster
        self._awake, self._needed = False, False
        self._coming: set[str] = set()
        """Classes for which a node is being made."""
        self._empty: dict[str, datetime] = {}
        kube.on_change(self._note)

    def _note(self, change: Change) -> None:
        if change.table == _CLASSES:
            self._needed = True
        if self._needed and change.table in _TABLES and not self._awake:
            self._wake()

    def _wake(self) -> None:
        self._awake = True
        self._world.clock.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._awake = False
        waits = [self._scale_up(found) for found in self._kube.objects("ComputeClass")]
        if any(waits) or self._scale_down():
            self._wake()

    def _scale_up(self, compute_class: Json) -> bool:
        """Make a node for pods that wait for the class, one at a time; whether any wait."""
        name = compute_class["metadata"]["name"]
        waiting = [pod for pod in self._kube.objects("Pod") if _waits_for(pod, name)]
        rules = classes.rules(compute_class)
        if not waiting or not rules or name in self._coming:
            return bool(waiting)
        disks = _disks(rules[0], self._cloud.state.project)
        allowlists = self._kube.objects("GCPResourceAllowlist")
        if all(classes.allowed(DiskImageRef(*_parts(one["diskImage"])), allowlists) for one in disks):
            self._coming.add(name)
            path = self._path()
            run(self._cloud.state, self._make(path, self._pool(path, name, rules[0], disks)), self._made(name))
        return True

    def _made(self, name: str) -> Any:
        def done(error: ApiError | None) -> None:
            self._coming.discard(name)

        return done

    def _make(self, path: str, pool: Json) -> Any:
        state = self._cloud.state
        (group,) = groups.of_pool(state, pool)
        yield from pools.fill(state, path, pool, groups.size(state, group) + 1)

    def _pool(self, path: str, name: str, rule: Json, disks: list[Json]) -> Json:
        """The pool that the rule's nodes belong in: one that is exactly like it, else a new one."""
        state = self._cloud.state
        for pool in state.collection(f"{path}/nodePools").values():
            mine = pool["config"].get("labels", {}).get(classes.CLASS_LABEL) == name
            if mine and pool["config"].get("secondaryBootDisks", []) == disks:
                return pool
        machine = str(rule.get("machineType") or f"{rule.get('machineFamily') or 'n2'}-standard-8")
        asked = {
            "name": f"nap-{machine}-{state.hex(8)}",
            "locations": ["europe-west4-a"],
            "autoscaling": {"enabled": True, "autoprovisioned": True, "maxNodeCount": 1000},
            "config": {
                "machineType": machine,
                "labels": {classes.CLASS_LABEL: name},
                "gcfsConfig": {"enabled": True},
                "secondaryBootDisks": disks,
            },
        }
        made = pools.complete(state, path, asked)
        pools.place(state, path, made, "RUNNING", RESTRICTED)
        return made

    def _scale_down(self) -> bool:
        """Take away nodes that have long been empty; whether any is empty."""
        state, path, now = self._cloud.state, self._path(), self._world.clock.now()
        busy = {pod["spec"].get("nodeName") for pod in self._kube.objects("Pod") if not stays(pod)}
        seen: set[str] = set()
        for pool in list(state.collection(f"{path}/nodePools").values()):
            if not pool.get("autoscaling", {}).get("autoprovisioned"):
                continue
            for group in groups.of_pool(state, pool):
                for instance in groups.members(state, group):
                    name = instance["name"]
                    if name in busy:
                        continue
                    seen.add(name)
                    since = self._empty.setdefault(name, now)
                    if (now - since).total_seconds() >= UNNEEDED_S:
                        groups.remove_member(state, group, instance)
                        groups.count(state, group, groups.size(state, group))
        self._empty = {name: since for name, since in self._empty.items() if name in seen}
        return bool(self._empty)

    def _path(self) -> str:
        return self._cloud.cluster_path(self._cluster)


def _waits_for(pod: Json, name: str) -> bool:
    wanted = (pod["spec"].get("nodeSelector") or {}).get(classes.CLASS_LABEL)
    return wanted == name and not pod["spec"].get("nodeName") and "deletionTimestamp" not in pod["metadata"]


def stays(pod: Json) -> bool:
    """Whether POD does not keep its node: it comes and goes with it, or has ended."""
    owners = pod["metadata"].get("ownerReferences") or ()
    return any(owner.get("kind") == "DaemonSet" for owner in owners) or pod.get("status", {}).get("phase") in (
        "Succeeded",
        "Failed",
    )


def _disks(rule: Json, project: str) -> list[Json]:
    """A rule's disks as a node pool has them: the form by which GKE tells whether a pool is a rule's."""
    return [
        {"diskImage": f"projects/{one.get('project') or project}/global/images/{one['diskImageName']}"}
        | ({"mode": one["mode"]} if one.get("mode") else {})
        for one in classes.secondary_disks(rule)
    ]


def _parts(path: str) -> tuple[str, str]:
    parts = path.split("/")
    return parts[1], parts[-1]
