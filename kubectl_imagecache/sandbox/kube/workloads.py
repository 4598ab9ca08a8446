"""ReplicaSets, StatefulSets, DaemonSets and Jobs: their pods made, removed and counted."""

from __future__ import annotations

import copy
import hashlib
import json
from datetime import datetime

from kubectl_imagecache.sandbox.kube.kinds import (
    DAEMON_SET,
    JOB,
    NAMESPACE,
    POD,
    PVC,
    REPLICA_SET,
    STATEFUL_SET,
    Kind,
    Obj,
)
from kubectl_imagecache.sandbox.kube.objects import Objects
from kubectl_imagecache.sandbox.kube.scheduler import NodeView, selects, untolerated
from kubectl_imagecache.sandbox.kube.store import Entry, stamp

_REVISION = "controller-revision-hash"
_DAEMON_TOLERATIONS = [
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect}
    for key, effect in (
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
        # While a node boots its DaemonSet pods are what makes it Ready.
        ("not-ready", "NoSchedule"),
    )
]


def replica_set(objects: Objects, obj: Obj) -> None:
    """As many pods as `replicas`."""
    wanted = int(obj["spec"].get("replicas", 1))
    pods = [e for e in owned_pods(objects, obj) if _active(e)]
    for _ in range(wanted - len(pods)):
        make_pod(objects, obj, REPLICA_SET)
    if len(pods) > wanted:
        # The real order too: those not bound or not ready go first.
        for entry in sorted(pods, key=lambda e: (bool(e.pod.node), e.pod.ready, -e.version))[: len(pods) - wanted]:
            objects.delete(POD, entry)
            objects.event(obj, "SuccessfulDelete", f"Deleted pod: {entry.name}", source="replicaset-controller")
    pods = [e for e in owned_pods(objects, obj) if _active(e)]
    ready = sum(1 for e in pods if e.pod.ready)
    counts = {"replicas": len(pods), "fullyLabeledReplicas": len(pods)}
    set_status(objects, REPLICA_SET, obj, {**counts, "readyReplicas": ready, "availableReplicas": ready})


def stateful_set(objects: Objects, obj: Obj) -> None:
    """Pods NAME-0, NAME-1, …, each only once those before it are ready (unless Parallel)."""
    spec, name = obj["spec"], obj["metadata"]["name"]
    wanted = int(spec.get("replicas", 1))
    pods = {e.name: e for e in owned_pods(objects, obj)}
    ordered = spec.get("podManagementPolicy") != "Parallel"
    revision = f"{name}-{template_hash(spec['template'])}"
    for number in range(wanted):
        entry = pods.get(f"{name}-{number}")
        if entry is None:
            _claims(objects, obj, number)
            make_pod(objects, obj, STATEFUL_SET, name=f"{name}-{number}", revision=revision)
        elif entry.pod.phase in ("Failed", "Succeeded") and not entry.pod.terminating:
            objects.delete(POD, entry)
        if ordered and (entry is None or not entry.pod.ready or entry.pod.terminating):
            break
    extra = [e for e in pods.values() if int(e.name.rpartition("-")[2]) >= wanted and not e.pod.terminating]
    for entry in sorted(extra, key=lambda e: -int(e.name.rpartition("-")[2]))[: 1 if ordered else None]:
        objects.delete(POD, entry)
    _renew(objects, list(pods.values()), revision, wanted)
    live = [e for e in owned_pods(objects, obj) if _active(e)]
    ready = sum(1 for e in live if e.pod.ready)
    current = sum(1 for e in live if e.labels.get(_REVISION, revision) == revision)
    counts = {"replicas": len(live), "readyReplicas": ready, "availableReplicas": ready, "currentReplicas": current}
    revisions = {
        "updatedReplicas": current,
        "currentRevision": revision,
        "updateRevision": revision,
        "collisionCount": 0,
    }
    set_status(objects, STATEFUL_SET, obj, {**counts, **revisions})


def daemon_set(objects: Objects, obj: Obj, nodes: list[NodeView]) -> None:
    """One pod on each node that its template allows."""
    spec = {**obj["spec"]["template"]["spec"]}
    spec["tolerations"] = (spec.get("tolerations") or []) + _DAEMON_TOLERATIONS
    eligible = {node.name for node in nodes if selects(spec, node) and untolerated(spec, node) is None}
    pods = owned_pods(objects, obj)
    covered = {e.pod.node for e in pods if e.pod.phase not in ("Failed", "Succeeded")}
    revision = template_hash(obj["spec"]["template"])
    for name in sorted(eligible - covered):
        make_pod(objects, obj, DAEMON_SET, node=name, revision=revision)
    for entry in pods:
        if entry.pod.node not in eligible and not entry.pod.terminating:
            objects.delete(POD, entry)
    _renew(objects, pods, revision, len(eligible))
    live = [e for e in owned_pods(objects, obj) if _active(e) and e.pod.node in eligible]
    ready = sum(1 for e in live if e.pod.ready)
    updated = sum(1 for e in live if e.labels.get(_REVISION, revision) == revision)
    counts = {"currentNumberScheduled": len(live), "desiredNumberScheduled": len(eligible), "numberMisscheduled": 0}
    counts |= {"numberReady": ready, "numberAvailable": ready, "updatedNumberScheduled": updated}
    set_status(objects, DAEMON_SET, obj, counts)


def job(objects: Objects, obj: Obj) -> None:
    """Pods until enough have succeeded."""
    spec, now = obj["spec"], stamp(objects.store.clock.now())
    status = dict(obj.get("status") or {})
    if status.get("completionTime") or spec.get("suspend"):
        return
    pods = owned_pods(objects, obj)
    succeeded = sum(1 for e in pods if e.pod.phase == "Succeeded")
    failed = sum(1 for e in pods if e.pod.phase == "Failed")
    active = sum(1 for e in pods if _active(e))
    completions = spec.get("completions")
    left = (completions if completions is not None else (0 if succeeded else spec["parallelism"])) - succeeded
    for _ in range(min(spec["parallelism"], max(left, 0)) - active):
        make_pod(objects, obj, JOB)
        active += 1
    status |= {"startTime": status.get("startTime", now), "active": active, "succeeded": succeeded, "failed": failed}
    status |= {"ready": sum(1 for e in pods if e.pod.ready), "terminating": 0, "uncountedTerminatedPods": {}}
    if left <= 0 and not active:
        done = {"status": "True", "lastProbeTime": now, "lastTransitionTime": now, "reason": "CompletionsReached"}
        status["conditions"] = [{"type": kind, **done} for kind in ("SuccessCriteriaMet", "Complete")]
        status["completionTime"] = now
        objects.event(obj, "Completed", "Job completed", source="job-controller")
        if spec.get("ttlSecondsAfterFinished") is not None:
            later = float(spec["ttlSecondsAfterFinished"])
            metadata, ended = obj["metadata"], objects.store.clock.now()
            objects.store.clock.call_later(later, lambda: _expire(objects, metadata, ended))
    set_status(
        objects, JOB, obj, {key: value for key, value in status.items() if value not in (0, None)}, observed=False
    )


def _expire(objects: Objects, metadata: Obj, ended: datetime) -> None:
    """Remove a Job that is over, unless its time to live has been made longer since."""
    entry = objects.store.get(JOB, metadata["namespace"], metadata["name"])
    if entry is None:
        return
    job = entry.parsed(JOB)
    lives = job["spec"].get("ttlSecondsAfterFinished")
    if job["metadata"]["uid"] != metadata["uid"] or lives is None:
        return
    left = float(lives) - (objects.store.clock.now() - ended).total_seconds()
    if left > 0:
        objects.store.clock.call_later(left, lambda: _expire(objects, metadata, ended))
    else:
        objects.remove(JOB, metadata["namespace"], metadata["name"])


def owned_pods(objects: Objects, owner: Obj) -> list[Entry]:
    """The pods that OWNER controls, oldest first."""
    uid = owner["metadata"]["uid"]
    found = (objects.store.entry_in(table, key) for table, key in objects.store.owned(uid) if table == POD.table)
    return [e for e in found if e is not None]


def make_pod(objects: Objects, owner: Obj, kind: Kind, *, name: str = "", node: str = "", revision: str = "") -> None:
    """Create one pod from OWNER's template; not in a namespace that goes."""
    metadata = owner["metadata"]
    namespace = objects.store.get(NAMESPACE, "", metadata["namespace"])
    if namespace is None or "deletionTimestamp" in objects.store.view(NAMESPACE, namespace)["metadata"]:
        return
    template = copy.deepcopy(owner["spec"]["template"])
    labels = dict((template.get("metadata") or {}).get("labels") or {})
    annotations = (template.get("metadata") or {}).get("annotations")
    if revision:
        labels[_REVISION] = revision
    if kind is STATEFUL_SET:
        labels["statefulset.kubernetes.io/pod-name"] = name
        labels["apps.kubernetes.io/pod-index"] = name.rpartition("-")[2]
        template["spec"]["hostname"] = name
        _mount_claims(owner, template["spec"], name)
    name = name or f"{metadata['name']}-{objects.store.suffix()}"
    if node:
        _pin(template["spec"], node)
    owner_ref = {"apiVersion": kind.api_version, "kind": kind.kind, "name": metadata["name"], "uid": metadata["uid"]}
    pod = {
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": labels,
            **({"annotations": annotations} if annotations else {}),
            "ownerReferences": [{**owner_ref, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": template["spec"],
    }
    made = objects.create(POD, pod)
    source = f"{kind.kind.lower()}-controller"
    objects.event(owner, "SuccessfulCreate", f"Created pod: {name}", source=source)
    if node:
        message = f"Successfully assigned {metadata['namespace']}/{name} to {node}"
        objects.event(made, "Scheduled", message, source="default-scheduler")


def _pin(spec: Obj, node: str) -> None:
    # Bound here at once; the affinity is what a real DaemonSet pod carries for the scheduler.
    fields = [{"key": "metadata.name", "operator": "In", "values": [node]}]
    required = {"nodeSelectorTerms": [{"matchFields": fields}]}
    affinity = spec.setdefault("affinity", {})
    affinity["nodeAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": required}
    spec["tolerations"] = (spec.get("tolerations") or []) + copy.deepcopy(_DAEMON_TOLERATIONS[:-1])
    spec["nodeName"] = node


def _claims(objects: Objects, obj: Obj, number: int) -> None:
    namespace = obj["metadata"]["namespace"]
    for claim in obj["spec"].get("volumeClaimTemplates") or ():
        name = f"{claim['metadata']['name']}-{obj['metadata']['name']}-{number}"
        if objects.store.get(PVC, namespace, name) is None:
            storage = (claim["spec"].get("resources") or {}).get("requests") or {}
            bound = {"phase": "Bound", "capacity": storage, "accessModes": claim["spec"].get("accessModes") or []}
            made = {"metadata": {"name": name, "namespace": namespace}, "spec": claim["spec"], "status": bound}
            objects.create(PVC, copy.deepcopy(made))


def _mount_claims(owner: Obj, spec: Obj, pod: str) -> None:
    for claim in owner["spec"].get("volumeClaimTemplates") or ():
        name = claim["metadata"]["name"]
        volume = {"name": name, "persistentVolumeClaim": {"claimName": f"{name}-{pod}"}}
        spec["volumes"] = [v for v in spec.get("volumes") or () if v["name"] != name] + [volume]


def _renew(objects: Objects, pods: list[Entry], revision: str, wanted: int) -> None:
    """Replace one outdated pod, once all are ready; pods that tell no revision count as current."""
    outdated = [e for e in pods if e.labels.get(_REVISION, revision) != revision and not e.pod.terminating]
    ready = sum(1 for e in pods if e.pod.ready and not e.pod.terminating)
    if outdated and (ready >= wanted or not outdated[-1].pod.ready):
        objects.delete(POD, outdated[-1])


def _active(entry: Entry) -> bool:
    return entry.pod.phase not in ("Succeeded", "Failed") and not entry.pod.terminating


def template_hash(template: Obj) -> str:
    """A short name for a pod template."""
    digest = hashlib.blake2b(json.dumps(template, sort_keys=True).encode(), digest_size=10).digest()
    return "".join("bcdfghjklmnpqrstvwxz2456789"[byte % 27] for byte in digest)


def set_status(objects: Objects, kind: Kind, obj: Obj, status: Obj, *, observed: bool = True) -> None:
    """Write a workload's status, if it differs."""
    new = {**status, "observedGeneration": obj["metadata"].get("generation", 1)} if observed else status
    entry = objects.store.get(kind, obj["metadata"]["namespace"], obj["metadata"]["name"])
    if entry is None:
        return
    if objects.store.view(kind, entry).get("status") != new:
        objects.store.put(kind, {**entry.parsed(kind), "status": new})
