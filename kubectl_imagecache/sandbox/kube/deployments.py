"""Deployments: a ReplicaSet for each template, rolled from the old to the new."""

from __future__ import annotations

import copy
import math

from kubectl_imagecache.sandbox.kube.kinds import DEPLOYMENT, REPLICA_SET, Obj
from kubectl_imagecache.sandbox.kube.objects import Objects
from kubectl_imagecache.sandbox.kube.store import stamp
from kubectl_imagecache.sandbox.kube.workloads import set_status, template_hash

_HASH = "pod-template-hash"
_REVISION = "deployment.kubernetes.io/revision"


def reconcile(objects: Objects, obj: Obj) -> None:
    """Scale the ReplicaSets towards what the Deployment asks for, one step."""
    sets = _owned_sets(objects, obj)
    template = obj["spec"]["template"]
    new = next((rs for rs in sets if _without_hash(rs["spec"]["template"]) == _without_hash(template)), None)
    old = [rs for rs in sets if rs is not new]
    if not obj["spec"].get("paused"):
        wanted = int(obj["spec"].get("replicas", 1))
        if new is None:
            new = _make_set(objects, obj, 0 if old else wanted, len(sets) + 1)
        if obj["spec"].get("strategy", {}).get("type") == "Recreate":
            _recreate(objects, obj, new, old, wanted)
        else:
            _roll(objects, obj, new, old, wanted)
    _write_status(objects, obj, new)


def _owned_sets(objects: Objects, obj: Obj) -> list[Obj]:
    found = []
    for table, key in objects.store.owned(obj["metadata"]["uid"]):
        entry = objects.store.entry_in(table, key)
        if table == REPLICA_SET.table and entry is not None:
            found.append(entry.parsed(REPLICA_SET))
    return sorted(found, key=lambda rs: str(rs["metadata"]["creationTimestamp"]))


def _without_hash(template: Obj) -> Obj:
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {key: value for key, value in (metadata.get("labels") or {}).items() if key != _HASH}
    metadata.pop("creationTimestamp", None)
    return {**template, "metadata": metadata}


def _make_set(objects: Objects, obj: Obj, replicas: int, revision: int) -> Obj:
    metadata, spec = obj["metadata"], obj["spec"]
    template = copy.deepcopy(spec["template"])
    name = template_hash(_without_hash(template))
    template.setdefault("metadata", {}).setdefault("labels", {})[_HASH] = name
    selector = copy.deepcopy(spec["selector"])
    selector.setdefault("matchLabels", {})[_HASH] = name
    owner = {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.kind, "name": metadata["name"]}
    owner |= {"uid": metadata["uid"], "controller": True, "blockOwnerDeletion": True}
    made = objects.create(
        REPLICA_SET,
        {
            "metadata": {
                "name": f"{metadata['name']}-{name}",
                "namespace": metadata["namespace"],
                "labels": template["metadata"]["labels"],
                "annotations": {_REVISION: str(revision)},
                "ownerReferences": [owner],
            },
            "spec": {"replicas": replicas, "selector": selector, "template": template},
        },
    )
    _say_scaled(objects, obj, made, 0, replicas)
    return made


def _recreate(objects: Objects, obj: Obj, new: Obj, old: list[Obj], wanted: int) -> None:
    for rs in old:
        _scale(objects, obj, rs, 0)
    if not any(rs.get("status", {}).get("replicas", 0) for rs in old):
        _scale(objects, obj, new, wanted)


def _roll(objects: Objects, obj: Obj, new: Obj, old: list[Obj], wanted: int) -> None:
    limits = obj["spec"].get("strategy", {}).get("rollingUpdate") or {}
    surge = _share(limits.get("maxSurge", "25%"), wanted, up=True)
    unavailable = _share(limits.get("maxUnavailable", "25%"), wanted, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    total = sum(int(rs["spec"]["replicas"]) for rs in [new, *old])
    size = int(new["spec"]["replicas"])
    target = (
        wanted if not any(int(rs["spec"]["replicas"]) for rs in old) else min(wanted, size + wanted + surge - total)
    )
    if size > wanted or target > size:
        size = wanted if size > wanted else target
        _scale(objects, obj, new, size)
    available = int(new.get("status", {}).get("availableReplicas", 0))
    total = size + sum(int(rs["spec"]["replicas"]) for rs in old)
    spare = total - (wanted - unavailable) - max(0, size - available)
    for rs in old:
        has = int(rs["spec"]["replicas"])
        # Pods that aren't available are no loss.
        less = min(has, max(spare, has - int(rs.get("status", {}).get("availableReplicas", 0)) if spare > 0 else 0))
        if less > 0:
            _scale(objects, obj, rs, has - less)
            spare -= less


def _share(value: int | str, total: int, *, up: bool) -> int:
    if isinstance(value, str):
        exact = int(value.rstrip("%")) * total / 100
        return math.ceil(exact) if up else math.floor(exact)
    return int(value)


def _scale(objects: Objects, obj: Obj, rs: Obj, replicas: int) -> None:
    before = int(rs["spec"]["replicas"])
    if before == replicas:
        return
    entry = objects.store.get(REPLICA_SET, rs["metadata"]["namespace"], rs["metadata"]["name"])
    if entry is None:
        return
    current = entry.parsed(REPLICA_SET)
    current["spec"]["replicas"] = rs["spec"]["replicas"] = replicas
    current["metadata"]["generation"] = current["metadata"].get("generation", 1) + 1
    objects.store.put(REPLICA_SET, current)
    _say_scaled(objects, obj, rs, before, replicas)


def _say_scaled(objects: Objects, obj: Obj, rs: Obj, before: int, after: int) -> None:
    if before != after:
        way = "up" if after > before else "down"
        message = f"Scaled {way} replica set {rs['metadata']['name']} from {before} to {after}"
        objects.event(obj, "ScalingReplicaSet", message, source="deployment-controller")


def _write_status(objects: Objects, obj: Obj, new: Obj | None) -> None:
    sets = _owned_sets(objects, obj)
    wanted = int(obj["spec"].get("replicas", 1))

    def total(field: str) -> int:
        return sum(int(rs.get("status", {}).get(field, 0)) for rs in sets)

    name = new["metadata"]["name"] if new else ""
    updated = sum(int(rs.get("status", {}).get("replicas", 0)) for rs in sets if rs["metadata"]["name"] == name)
    available = total("availableReplicas")
    limits = obj["spec"].get("strategy", {}).get("rollingUpdate") or {}
    enough = available >= wanted - _share(limits.get("maxUnavailable", "25%"), wanted, up=False)
    done = updated >= wanted and available >= wanted and total("replicas") == updated
    status: Obj = {
        "replicas": total("replicas"),
        "updatedReplicas": updated,
        "readyReplicas": total("readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, wanted - available),
    }
    status = {key: value for key, value in status.items() if value}
    now = stamp(objects.store.clock.now())
    old = {c["type"]: c for c in obj.get("status", {}).get("conditions") or ()}
    conditions = (
        ("Available", enough, "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable"),
        ("Progressing", True, "NewReplicaSetAvailable" if done else "ReplicaSetUpdated"),
    )
    status["conditions"] = [_condition(old.get(kind), kind, value, reason, now) for kind, value, reason in conditions]
    set_status(objects, DEPLOYMENT, obj, status)


def _condition(old: Obj | None, kind: str, value: bool, reason: str, now: str) -> Obj:
    word = "True" if value else "False"
    if old is not None and (old["status"], old.get("reason")) == (word, reason):
        return old
    return {
        "type": kind,
        "status": word,
        "reason": reason,
        "message": "",
        "lastUpdateTime": now,
        "lastTransitionTime": now,
    }
