"""The controller manager: notes what changed, and brings the workloads concerned to what they ask for."""

from __future__ import annotations

from collections.abc import Callable

from kubectl_imagecache.sandbox.kube import deployments, workloads
from kubectl_imagecache.sandbox.kube.eviction import health
from kubectl_imagecache.sandbox.kube.kinds import (
    DAEMON_SET,
    DEPLOYMENT,
    JOB,
    NODE,
    PDB,
    REPLICA_SET,
    STATEFUL_SET,
    Kind,
    Obj,
)
from kubectl_imagecache.sandbox.kube.objects import Objects
from kubectl_imagecache.sandbox.kube.scheduler import Scheduler
from kubectl_imagecache.sandbox.kube.store import Change, Entry, Key, stamp

_TICK_S = 0.2

_ORDER: tuple[Kind, ...] = (DEPLOYMENT, REPLICA_SET, STATEFUL_SET, DAEMON_SET, JOB)
_KINDS = {kind.table: kind for kind in _ORDER}


def _counts(change: Change) -> bool:
    """Whether a pod's change matters to those who count pods."""
    old, new = change.old, change.new
    if old is None or new is None:
        return True
    before, after = old.pod, new.pod
    return (before.phase, before.ready, before.terminating) != (after.phase, after.ready, after.terminating)


class Controllers:
    """Level-triggered: what is dirty is looked at anew, whatever made it so."""

    def __init__(self, objects: Objects, scheduler: Scheduler) -> None:
        self._objects = objects
        self._store = objects.store
        self._scheduler = scheduler
        self._dirty: dict[str, dict[Key, None]] = {kind.table: {} for kind in _ORDER}
        self._dirty_budgets: dict[str, None] = {}
        self._by_uid: dict[str, tuple[Kind, Key]] = {}
        self._ticking = False
        self._reconcilers: dict[str, Callable[[Obj], None]] = {
            DEPLOYMENT.table: lambda obj: deployments.reconcile(objects, obj),
            REPLICA_SET.table: lambda obj: workloads.replica_set(objects, obj),
            STATEFUL_SET.table: lambda obj: workloads.stateful_set(objects, obj),
            DAEMON_SET.table: lambda obj: workloads.daemon_set(objects, obj, scheduler.views()),
            JOB.table: lambda obj: workloads.job(objects, obj),
        }

    def note(self, change: Change) -> None:
        """Take in a change of anything."""
        entry = change.new or change.old
        if entry is None:
            return
        if change.table == "pods":
            if not _counts(change):
                return
            self._mark_owners(entry)
            self._dirty_budgets[entry.namespace] = None
        elif change.table == PDB.table:
            self._dirty_budgets[entry.namespace] = None
        elif change.table in _KINDS:
            self._note_workload(change, entry)
        elif change.table == NODE.table:
            if _places_as_before(change):
                return
            self._dirty[DAEMON_SET.table].update(dict.fromkeys(e.key for e in self._store.entries(DAEMON_SET)))
        else:
            return
        self._wake()

    def size(self, uid: str) -> int:
        """How many pods the controller with a UID should have; 0 if it isn't known."""
        found = self._by_uid.get(uid)
        entry = self._store.get(found[0], *found[1]) if found else None
        if found is None or entry is None:
            return 0
        obj = self._store.view(found[0], entry)
        if found[0] is DAEMON_SET:
            return int(obj.get("status", {}).get("desiredNumberScheduled", 0))
        return int(obj["spec"].get("parallelism" if found[0] is JOB else "replicas", 1))

    def _note_workload(self, change: Change, entry: Entry) -> None:
        kind = _KINDS[change.table]
        if change.new is None:
            uid = entry.parsed(kind)["metadata"]["uid"]
            self._by_uid.pop(uid, None)
        else:
            if change.old is None:
                self._by_uid[entry.parsed(kind)["metadata"]["uid"]] = (kind, entry.key)
            self._dirty[change.table][entry.key] = None
        self._mark_owners(entry)

    def _mark_owners(self, entry: Entry) -> None:
        for uid in entry.owners:
            found = self._by_uid.get(uid)
            if found is not None:
                self._dirty[found[0].table][found[1]] = None

    def _wake(self) -> None:
        if not self._ticking:
            self._ticking = True
            self._store.clock.call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        for kind in _ORDER:
            keys, self._dirty[kind.table] = self._dirty[kind.table], {}
            for key in keys:
                entry = self._store.get(kind, *key)
                if entry is not None:
                    obj = self._store.view(kind, entry)
                    if "deletionTimestamp" not in obj["metadata"]:
                        self._reconcilers[kind.table](obj)
        namespaces, self._dirty_budgets = self._dirty_budgets, {}
        for namespace in namespaces:
            for entry in self._store.entries(PDB, namespace):
                self._budget(self._store.view(PDB, entry))

    def _budget(self, pdb: Obj) -> None:
        counts = health(self._store, pdb, self.size)
        wanted = {
            "observedGeneration": pdb["metadata"].get("generation", 1),
            "disruptionsAllowed": counts.allowed,
            "currentHealthy": counts.healthy,
            "desiredHealthy": counts.desired,
            "expectedPods": counts.expected,
        }
        old = pdb.get("status") or {}
        if {key: old.get(key) for key in wanted} == wanted:
            return
        allowed = counts.allowed > 0
        reason = "SufficientPods" if allowed else "InsufficientPods"
        state = {"type": "DisruptionAllowed", "status": "True" if allowed else "False", "reason": reason, "message": ""}
        state |= {
            "observedGeneration": wanted["observedGeneration"],
            "lastTransitionTime": stamp(self._store.clock.now()),
        }
        self._store.put(PDB, {**pdb, "metadata": dict(pdb["metadata"]), "status": {**wanted, "conditions": [state]}})


def _places_as_before(change: Change) -> bool:
    """Whether a node's change is none to those who place pods: its images and conditions change often."""
    old, new = change.old, change.new
    if old is None or new is None or old.labels != new.labels:
        return False
    return bool(old.parsed(NODE).get("spec") == new.parsed(NODE).get("spec"))
