"""How objects come, change and go: the write path that the API and the controllers share."""

from __future__ import annotations

import copy
import random
from collections import deque
from datetime import datetime, timedelta

from kubectl_imagecache.sandbox.kube import defaults
from kubectl_imagecache.sandbox.kube.kinds import CRD, EVENT, NAMESPACE, NODE, POD, Kind, Kinds, Obj
from kubectl_imagecache.sandbox.kube.status import ApiError, already_exists, conflict, invalid, not_found, unmet
from kubectl_imagecache.sandbox.kube.store import Entry, Store, stamp

GC_DELAY_S = 0.1
"""How soon after its owner an object goes."""
ENDS_AFTER = "sandbox.imagecache/ends-after-seconds"
"""Annotation on a pod: how long its containers take to end, within its grace; 0.5 to 2.5 s unless told."""
EVENT_TTL = timedelta(hours=1)
_MUTABLE_POD_SPEC = {"tolerations", "activeDeadlineSeconds", "schedulingGates", "terminationGracePeriodSeconds"}


class Objects:
    """Creates, updates and deletes, with what follows from them."""

    def __init__(self, store: Store, kinds: Kinds, seed: int) -> None:
        self.store = store
        self.kinds = kinds
        self._random = random.Random(f"objects-{seed}")
        self._events = 0
        self._event_ages: deque[tuple[datetime, str, str]] = deque()

    def create(self, kind: Kind, obj: Obj, *, dry_run: bool = False) -> Obj:
        """Store a new object; raise ApiError 404 (namespace), 409, 422."""
        namespace = obj.get("metadata", {}).get("namespace", "")
        if kind.namespaced and self.store.get(NAMESPACE, "", namespace) is None:
            raise not_found(NAMESPACE, namespace)
        obj = defaults.prepare(kind, {**obj, "apiVersion": kind.api_version, "kind": kind.kind}, self.store)
        name = obj["metadata"]["name"]
        if self.store.get(kind, namespace, name) is not None:
            raise already_exists(kind, name)
        if kind is CRD and not dry_run:
            obj["status"] = _established(obj, stamp(self.store.clock.now()))
            self.kinds.define(obj)
        if not dry_run:
            self.store.put(kind, obj)
            if kind is NAMESPACE:
                account = {"metadata": {"name": "default", "namespace": name}}
                self.create(self.kinds.named("ServiceAccount"), account)
        return obj

    def prepare_bulk(self, pod: Obj) -> Obj:
        """POD with its namespace made and its defaults filled in, as the pattern for many; raise ApiError 422."""
        metadata = {"namespace": "default", **pod.get("metadata", {}), "name": "bulk"}
        if self.store.get(NAMESPACE, "", metadata["namespace"]) is None:
            self.create(NAMESPACE, {"metadata": {"name": metadata["namespace"]}})
        pattern = copy.deepcopy({**pod, "kind": POD.kind, "metadata": metadata})
        pattern.setdefault("status", {}).setdefault("phase", "Running")
        return defaults.prepare(POD, pattern, self.store)

    def update(self, kind: Kind, old: Entry, new: Obj, *, subresource: str = "", dry_run: bool = False) -> Obj:
        """Replace OLD by NEW, as a write to SUBRESOURCE may; raise ApiError 400, 409, 422."""
        before = old.parsed(kind)
        _check_identity(kind, before, new)
        if subresource in ("status", "finalize"):
            part = "status" if subresource == "status" else "spec"
            kept = {**before, part: new.get(part, {})}
            kept["metadata"] = {**before["metadata"], **_annotations(new)}
            new = kept
        elif "status" in kind.subresources and "status" in before:
            new["status"] = before["status"]
        metadata = new["metadata"]
        for name in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
            metadata.pop(name, None)
            if name in before["metadata"]:
                metadata[name] = before["metadata"][name]
        if new.get("spec") != before.get("spec") and "generation" in metadata:
            metadata["generation"] += 1
        if kind is POD and not subresource:
            _check_pod_update(before, new)
        if kind.kind == "Event":
            defaults.to_core_event(new)
        defaults.validate(kind, new)
        if dry_run or new == before:
            return new
        if "deletionTimestamp" in metadata and not metadata.get("finalizers") and kind not in (POD, NAMESPACE):
            self.remove(kind, old.namespace, old.name)
            return new
        self.store.put(kind, new)
        if kind is CRD:
            self.kinds.define(new)
        return new

    def delete(self, kind: Kind, entry: Entry, options: Obj | None = None) -> Obj:
        """Delete as the API does: gracefully for pods, after their finalizers for all; raise ApiError 409.

        The object as the deletion leaves it is returned.
        """
        options = options or {}
        obj = entry.parsed(kind)
        _check_preconditions(kind, obj, options)
        if options.get("dryRun"):
            return obj
        policy = options.get("propagationPolicy") or ("Orphan" if options.get("orphanDependents") else "Background")
        if kind is POD:
            return self._delete_pod(entry, obj, options.get("gracePeriodSeconds"))
        if kind is NAMESPACE:
            return self._delete_namespace(entry, obj)
        if obj["metadata"].get("finalizers"):
            obj["metadata"].setdefault("deletionTimestamp", stamp(self.store.clock.now()))
            obj["metadata"].setdefault("deletionGracePeriodSeconds", 0)
            self.store.put(kind, obj)
            return obj
        self.remove(kind, entry.namespace, entry.name, orphan=policy == "Orphan")
        return obj

    def remove(self, kind: Kind, namespace: str, name: str, *, orphan: bool = False) -> None:
        """Take an object away at once, its dependents soon after (or orphaned); unknown ones are ignored."""
        last = self.store.remove(kind, namespace, name)
        if last is None:
            return
        obj = last.parsed(kind)
        if kind is CRD:
            self._remove_kind(obj)
        uid = obj["metadata"]["uid"]
        dependents = self.store.owned(uid)
        if dependents and orphan:
            self._orphan(uid)
        elif dependents:
            self.store.clock.call_later(GC_DELAY_S, lambda: self._collect(uid))
        if kind is NODE:
            self.store.clock.call_later(GC_DELAY_S, lambda: self._clear_node(name))

    def event(
        self, about: Obj, reason: str, message: str, *, source: str, host: str = "", warning: bool = False
    ) -> None:
        """Record an Event on an object; nowhere if its namespace is gone."""
        metadata = about["metadata"]
        namespace = metadata.get("namespace", "default")
        if self.store.get(NAMESPACE, "", namespace) is None:
            return
        self._events += 1
        self.forget_old_events()
        now = stamp(self.store.clock.now())
        name = f"{metadata['name']}.{0x18A0000000000000 + self._events:x}"
        self._event_ages.append((self.store.clock.now(), namespace, name))
        involved = {key: about[key] for key in ("kind", "apiVersion")}
        involved |= {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion") if key in metadata}
        if "fieldPath" in about:
            involved["fieldPath"] = about["fieldPath"]
        # Put straight into the store: there is nothing to default or to refuse, and there are many of them.
        self.store.put(
            EVENT,
            {
                "metadata": {"name": name, "namespace": namespace, "uid": self.store.uid(), "creationTimestamp": now},
                "involvedObject": involved,
                "reason": reason,
                "message": message,
                "source": {"component": source, **({"host": host} if host else {})},
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
                "type": "Warning" if warning else "Normal",
                "eventTime": None,
                "reportingComponent": source,
                "reportingInstance": host,
            },
        )

    def forget_old_events(self) -> None:
        """Drop recorded events that are older than GKE keeps them."""
        limit = self.store.clock.now() - EVENT_TTL
        while self._event_ages and self._event_ages[0][0] < limit:
            _, namespace, name = self._event_ages.popleft()
            self.store.remove(EVENT, namespace, name)

    def _delete_pod(self, entry: Entry, pod: Obj, asked: int | None) -> Obj:
        metadata = pod["metadata"]
        grace = asked if asked is not None else pod["spec"].get("terminationGracePeriodSeconds", 30)
        if not entry.pod.node or entry.pod.phase in ("Succeeded", "Failed"):
            grace = 0
        if grace <= 0:
            if metadata.get("finalizers"):
                metadata.setdefault("deletionTimestamp", stamp(self.store.clock.now()))
                self.store.put(POD, pod)
            else:
                self.remove(POD, entry.namespace, entry.name)
            return pod
        if entry.pod.terminating and metadata.get("deletionGracePeriodSeconds", 0) <= grace:
            return pod
        now = self.store.clock.now()
        metadata["deletionTimestamp"] = stamp(now + timedelta(seconds=grace))
        metadata["deletionGracePeriodSeconds"] = grace
        self.store.put(POD, pod)
        for container in pod["spec"].get("containers") or ():
            self.event(
                {**pod, "fieldPath": f"spec.containers{{{container['name']}}}"},
                "Killing",
                f"Stopping container {container['name']}",
                source="kubelet",
                host=entry.pod.node,
            )
        # Containers end well before their grace does, if they heed SIGTERM.
        told = (metadata.get("annotations") or {}).get(ENDS_AFTER)
        ends_in = min(float(grace), float(told) if told else self._random.uniform(0.5, 2.5))
        uid = metadata["uid"]
        self.store.clock.call_later(ends_in, lambda: self._end_pod(entry.namespace, entry.name, uid))
        return pod

    def _end_pod(self, namespace: str, name: str, uid: str) -> None:
        entry = self.store.get(POD, namespace, name)
        if entry is None:
            return
        pod = entry.parsed(POD)
        if pod["metadata"]["uid"] == uid and not pod["metadata"].get("finalizers"):
            self.remove(POD, namespace, name)

    def _delete_namespace(self, entry: Entry, obj: Obj) -> Obj:
        obj["metadata"].setdefault("deletionTimestamp", stamp(self.store.clock.now()))
        obj["status"] = {"phase": "Terminating"}
        self.store.put(NAMESPACE, obj)
        self.store.clock.call_later(GC_DELAY_S, lambda: self._empty_namespace(entry.name))
        return obj

    def _empty_namespace(self, name: str) -> None:
        left = False
        for kind in self.kinds.all():
            if not kind.namespaced or kind.store:
                continue
            for entry in self.store.entries(kind, name):
                left = True
                if not entry.pod.terminating:
                    self.delete(kind, entry)
        if left:
            self.store.clock.call_later(1.0, lambda: self._empty_namespace(name))
        else:
            self.remove(NAMESPACE, "", name)

    def _collect(self, uid: str) -> None:
        for table, (namespace, name) in self.store.owned(uid):
            kind = self.kinds.named(table)
            entry = self.store.get(kind, namespace, name)
            # A second owner that still lives would keep it in a real cluster; nothing here has two.
            if entry is not None and not entry.pod.terminating:
                self.delete(kind, entry)

    def _orphan(self, uid: str) -> None:
        for table, (namespace, name) in self.store.owned(uid):
            kind = self.kinds.named(table)
            entry = self.store.get(kind, namespace, name)
            if entry is not None:
                obj = entry.parsed(kind)
                metadata = obj["metadata"]
                metadata["ownerReferences"] = [o for o in metadata.get("ownerReferences") or () if o["uid"] != uid]
                self.store.put(kind, obj)

    def _clear_node(self, name: str) -> None:
        if self.store.get(NODE, "", name) is None:
            for entry in self.store.pods_on(POD, name):
                self.remove(POD, entry.namespace, entry.name)

    def _remove_kind(self, crd: Obj) -> None:
        for kind in list(self.kinds.all()):
            if kind.custom and kind.resource == crd["metadata"]["name"]:
                for entry in self.store.entries(kind):
                    self.remove(kind, entry.namespace, entry.name)
        self.kinds.undefine(crd)


def _annotations(new: Obj) -> Obj:
    return {key: new["metadata"][key] for key in ("labels", "annotations") if key in new.get("metadata", {})}


def _check_identity(kind: Kind, before: Obj, new: Obj) -> None:
    metadata, old = new.setdefault("metadata", {}), before["metadata"]
    if metadata.get("name", old["name"]) != old["name"]:
        message = f"the name of the object ({metadata['name']}) does not match the name on the URL ({old['name']})"
        raise ApiError(400, message)
    if metadata.get("uid", old["uid"]) != old["uid"]:
        why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {old['uid']}"
        raise conflict(kind, old["name"], why)
    version = metadata.get("resourceVersion")
    if version and str(version) != str(old["resourceVersion"]):
        raise conflict(kind, old["name"])
    metadata["name"] = old["name"]
    if kind.namespaced:
        metadata["namespace"] = old["namespace"]


def _check_preconditions(kind: Kind, obj: Obj, options: Obj) -> None:
    asked, metadata = options.get("preconditions") or {}, obj["metadata"]
    if asked.get("uid") and asked["uid"] != metadata["uid"]:
        since = "The object might have been deleted and then recreated"
        raise unmet(kind, metadata["name"], "UID", asked["uid"], metadata["uid"], since)
    if asked.get("resourceVersion") and asked["resourceVersion"] != metadata["resourceVersion"]:
        version = metadata["resourceVersion"]
        since = "The object might have been modified"
        raise unmet(kind, metadata["name"], "ResourceVersion", asked["resourceVersion"], version, since)


def _check_pod_update(before: Obj, new: Obj) -> None:
    def fixed(pod: Obj) -> Obj:
        spec = {key: value for key, value in pod.get("spec", {}).items() if key not in _MUTABLE_POD_SPEC}
        for part in ("containers", "initContainers"):
            if part in spec:
                spec[part] = [{**c, "image": ""} for c in spec[part]]
        return spec

    if fixed(before) != fixed(new):
        message = (
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions "
            "to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it "
            "was previously negative)"
        )
        raise invalid(POD, before["metadata"]["name"], "spec", message, "FieldValueForbidden")


def _established(crd: Obj, now: str) -> Obj:
    conditions = [
        {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now}
        for kind, reason, message in (
            ("NamesAccepted", "NoConflicts", "no conflicts found"),
            ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        )
    ]
    names = crd.get("spec", {}).get("names", {})
    versions = [v["name"] for v in crd.get("spec", {}).get("versions", []) if v.get("storage")]
    return {"conditions": conditions, "acceptedNames": names, "storedVersions": versions}
