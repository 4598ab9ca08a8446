"""Nodes as they join: boot, lease, readiness, and the taint of the cordoned."""

from __future__ import annotations

import random

from kubectl_imagecache.sandbox.kube.kinds import LEASE, NODE, Obj
from kubectl_imagecache.sandbox.kube.objects import Objects
from kubectl_imagecache.sandbox.kube.store import Change, condition, stamp

_NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
_CORDONED = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


class Nodes:
    """The node lifecycle controller, and what a kubelet does before it runs pods."""

    def __init__(self, objects: Objects, seed: int) -> None:
        self._objects = objects
        self._store = objects.store
        self._random = random.Random(f"nodes-{seed}")

    def add(self, node: Obj, kubelet_s: float = 0.0) -> None:
        """Register NODE; unless its status says Ready and KUBELET_S is 0, it becomes so after that or a boot time."""
        name = node["metadata"]["name"]
        booting = kubelet_s > 0 or condition(node, "Ready").get("status") != "True"
        if booting:
            node.setdefault("status", {})["conditions"] = self._conditions("False", "KubeletNotReady")
            node.setdefault("spec", {}).setdefault("taints", []).append(dict(_NOT_READY))
        made = self._objects.create(NODE, node)
        uid = made["metadata"]["uid"]
        self._lease(name, uid)
        if booting:
            boot_s = kubelet_s or self._random.uniform(12.0, 30.0)
            self._store.clock.call_later(boot_s, lambda: self._booted(name, uid))

    def note(self, change: Change) -> None:
        """Take in a change of a node: a cordon brings its taint, an uncordon takes it away."""
        if change.table != NODE.table or change.new is None:
            return
        name = change.new.name
        if _is_cordoned(self._store.view(NODE, change.new)) is not None:
            self._store.clock.call_later(0.05, lambda: self._taint(name))

    def _taint(self, name: str) -> None:
        entry = self._store.get(NODE, "", name)
        node = entry.parsed(NODE) if entry else None
        cordoned = _is_cordoned(node) if node else None
        if node is None or cordoned is None:
            return
        taints = [taint for taint in node["spec"].get("taints") or () if taint["key"] != _CORDONED["key"]]
        if cordoned:
            taints.append({**_CORDONED, "timeAdded": stamp(self._store.clock.now())})
        _set_taints(node, taints)
        self._store.put(NODE, node)

    def _lease(self, name: str, uid: str) -> None:
        owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}
        renewed = self._store.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        metadata = {"name": name, "namespace": "kube-node-lease", "ownerReferences": [owner]}
        spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": renewed}
        # A node of the same name may come back before its old lease has been collected.
        self._objects.remove(LEASE, "kube-node-lease", name)
        self._objects.create(LEASE, {"metadata": metadata, "spec": spec})

    def _booted(self, name: str, uid: str) -> None:
        entry = self._store.get(NODE, "", name)
        node = entry.parsed(NODE) if entry else None
        if node is None or node["metadata"]["uid"] != uid:
            return
        node["status"]["conditions"] = self._conditions("True", "KubeletReady")
        _set_taints(node, [t for t in node["spec"].get("taints") or () if t["key"] != _NOT_READY["key"]])
        self._store.put(NODE, node)
        about = {**node, "metadata": {**node["metadata"], "uid": name}}
        message = f"Node {name} status is now: NodeReady"
        self._objects.event(about, "NodeReady", message, source="kubelet", host=name)

    def _conditions(self, ready: str, reason: str) -> list[Obj]:
        now = stamp(self._store.clock.now())
        states = (
            ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            ("PIDPressure", "False", "KubeletHasSufficientPID"),
            ("Ready", ready, reason),
        )
        return [
            {
                "type": kind,
                "status": value,
                "reason": why,
                "message": "",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
            for kind, value, why in states
        ]


def _is_cordoned(node: Obj) -> bool | None:
    """Whether the node is cordoned, if its taint doesn't say so yet; None if both agree."""
    cordoned = bool(node["spec"].get("unschedulable"))
    tainted = any(taint["key"] == _CORDONED["key"] for taint in node["spec"].get("taints") or ())
    return None if cordoned == tainted else cordoned


def _set_taints(node: Obj, taints: list[Obj]) -> None:
    if taints:
        node["spec"]["taints"] = taints
    else:
        node["spec"].pop("taints", None)
