"""Server-side tables: what `kubectl get` shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from kubectl_imagecache.sandbox.kube.ages import age, human_duration, moment
from kubectl_imagecache.sandbox.kube.kinds import Kind, Obj

Cells = list[Any]
Column = tuple[str, str, int]
"""Name, type, priority (1: only with -o wide)."""


def _join(parts: Iterable[str]) -> str:
    return ",".join(parts) or "<none>"


def _selector(selector: Obj | None) -> str:
    labels = (selector or {}).get("matchLabels") or {}
    return _join(f"{key}={value}" for key, value in sorted(labels.items()))


def _template(obj: Obj) -> tuple[str, str]:
    containers = obj.get("spec", {}).get("template", {}).get("spec", {}).get("containers") or ()
    return ",".join(c["name"] for c in containers), ",".join(c.get("image", "") for c in containers)


def _node(obj: Obj, now: datetime) -> Cells:
    status, spec, labels = obj.get("status", {}), obj.get("spec", {}), obj["metadata"].get("labels") or {}
    ready = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), None)
    words = ["Unknown" if ready is None else "Ready" if ready["status"] == "True" else "NotReady"]
    if spec.get("unschedulable"):
        words.append("SchedulingDisabled")
    prefix = "node-role.kubernetes.io/"
    roles = _join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix)))
    addresses = {a["type"]: a["address"] for a in status.get("addresses") or ()}
    info = status.get("nodeInfo", {})
    return [
        obj["metadata"]["name"],
        ",".join(words),
        roles,
        age(obj["metadata"].get("creationTimestamp"), now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def pod_word(obj: Obj) -> str:
    """The STATUS column of a pod: its phase, or what is the matter with it."""
    status = obj.get("status", {})
    word: str = status.get("reason") or status.get("phase") or "Unknown"
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            word = "SchedulingGated"
    starting = _init_word(obj)
    if starting:
        word = starting
    else:
        for container in reversed(status.get("containerStatuses") or ()):
            state = container.get("state", {})
            for part in ("waiting", "terminated"):
                if state.get(part, {}).get("reason"):
                    word = state[part]["reason"]
    if obj["metadata"].get("deletionTimestamp"):
        word = "Terminating"
    return word


def _init_word(obj: Obj) -> str:
    statuses = obj.get("status", {}).get("initContainerStatuses") or ()
    sidecars = {c["name"] for c in obj["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"}
    for i, container in enumerate(statuses):
        state = container.get("state", {})
        if state.get("terminated", {}).get("exitCode", 1) == 0:
            continue
        if container["name"] in sidecars and container.get("started"):
            continue
        if "terminated" in state:
            return f"Init:{state['terminated'].get('reason') or 'Error'}"
        reason = state.get("waiting", {}).get("reason", "")
        if reason not in ("", "PodInitializing"):
            return f"Init:{reason}"
        return f"Init:{i}/{len(statuses)}"
    return ""


def _pod(obj: Obj, now: datetime) -> Cells:
    status, spec = obj.get("status", {}), obj.get("spec", {})
    containers = status.get("containerStatuses") or ()
    restarts = sum(c.get("restartCount", 0) for c in containers)
    gates = spec.get("readinessGates")
    return [
        obj["metadata"]["name"],
        f"{sum(1 for c in containers if c.get('ready'))}/{len(spec.get('containers') or ())}",
        pod_word(obj),
        str(restarts),
        age(obj["metadata"].get("creationTimestamp"), now),
        status.get("podIP") or "<none>",
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        f"0/{len(gates)}" if gates else "<none>",
    ]


def _event(obj: Obj, now: datetime) -> Cells:
    about = obj.get("involvedObject", {})
    source = obj.get("source") or {}
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    last = (obj.get("series") or {}).get("lastObservedTime") or obj.get("lastTimestamp") or first
    count = (obj.get("series") or {}).get("count") or obj.get("count") or 1
    last_seen = age(last, now)
    if count > 1:
        last_seen = f"{last_seen} (x{count} over {age(first, now)})"
    name = source.get("component") or obj.get("reportingComponent") or ""
    return [
        last_seen,
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{about.get('kind', '').lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""),
        ", ".join(part for part in (name, source.get("host", "")) if part),
        (obj.get("message") or "").strip(),
        age(first, now),
        count,
        obj["metadata"]["name"],
    ]


def _deployment(obj: Obj, now: datetime) -> Cells:
    status = obj.get("status", {})
    ready = f"{status.get('readyReplicas', 0)}/{obj['spec'].get('replicas', 1)}"
    created = age(obj["metadata"].get("creationTimestamp"), now)
    cells: Cells = [
        obj["metadata"]["name"],
        ready,
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
    ]
    return [*cells, created, *_template(obj), _selector(obj["spec"].get("selector"))]


def _replica_set(obj: Obj, now: datetime) -> Cells:
    status = obj.get("status", {})
    counts = [obj["spec"].get("replicas", 1), status.get("replicas", 0), status.get("readyReplicas", 0)]
    created = age(obj["metadata"].get("creationTimestamp"), now)
    return [obj["metadata"]["name"], *counts, created, *_template(obj), _selector(obj["spec"].get("selector"))]


def _stateful_set(obj: Obj, now: datetime) -> Cells:
    ready = f"{obj.get('status', {}).get('readyReplicas', 0)}/{obj['spec'].get('replicas', 1)}"
    return [obj["metadata"]["name"], ready, age(obj["metadata"].get("creationTimestamp"), now), *_template(obj)]


def _daemon_set(obj: Obj, now: datetime) -> Cells:
    status = obj.get("status", {})
    names = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    where = obj["spec"].get("template", {}).get("spec", {}).get("nodeSelector") or {}
    created = age(obj["metadata"].get("creationTimestamp"), now)
    chosen = _join(f"{k}={v}" for k, v in sorted(where.items()))
    counts = [status.get(name, 0) for name in names]
    return [obj["metadata"]["name"], *counts, chosen, created, *_template(obj), _selector(obj["spec"].get("selector"))]


def _job(obj: Obj, now: datetime) -> Cells:
    spec, status = obj["spec"], obj.get("status", {})
    done = {c["type"] for c in status.get("conditions") or () if c["status"] == "True"}
    word = "Complete" if "Complete" in done else "Failed" if "Failed" in done else "Running"
    if spec.get("suspend") and not done:
        word = "Suspended"
    wanted = spec.get("completions")
    completions = f"{status.get('succeeded', 0)}/{wanted if wanted is not None else spec.get('parallelism', 1)}"
    took = ""
    if status.get("startTime"):
        end = moment(status["completionTime"]) if status.get("completionTime") else now
        took = human_duration((end - moment(status["startTime"])).total_seconds())
    created = age(obj["metadata"].get("creationTimestamp"), now)
    return [obj["metadata"]["name"], word, completions, took, created, *_template(obj), _selector(spec.get("selector"))]


def _cron_job(obj: Obj, now: datetime) -> Cells:
    spec, status = obj["spec"], obj.get("status", {})
    last = age(status["lastScheduleTime"], now) if status.get("lastScheduleTime") else "<none>"
    containers, images = _template(spec.get("jobTemplate", {}))
    suspended = "True" if spec.get("suspend") else "False"
    active = len(status.get("active") or ())
    created = age(obj["metadata"].get("creationTimestamp"), now)
    cells: Cells = [
        obj["metadata"]["name"],
        spec.get("schedule", ""),
        spec.get("timeZone", "<none>"),
        suspended,
        active,
    ]
    return [*cells, last, created, containers, images, "<none>"]


def _pdb(obj: Obj, now: datetime) -> Cells:
    spec = obj["spec"]
    least, most = (str(spec[k]) if k in spec else "N/A" for k in ("minAvailable", "maxUnavailable"))
    allowed = obj.get("status", {}).get("disruptionsAllowed", 0)
    return [obj["metadata"]["name"], least, most, allowed, age(obj["metadata"].get("creationTimestamp"), now)]


def _service(obj: Obj, now: datetime) -> Cells:
    spec = obj.get("spec", {})
    ports = _join(f"{p['port']}/{p.get('protocol', 'TCP')}" for p in spec.get("ports") or ())
    created = age(obj["metadata"].get("creationTimestamp"), now)
    selector = _join(f"{k}={v}" for k, v in sorted((spec.get("selector") or {}).items()))
    kind, ip = spec.get("type", "ClusterIP"), spec.get("clusterIP", "<none>")
    return [obj["metadata"]["name"], kind, ip, "<none>", ports, created, selector]


def _volume_claim(obj: Obj, now: datetime) -> Cells:
    spec, status = obj.get("spec", {}), obj.get("status", {})
    capacity = (status.get("capacity") or {}).get("storage", "")
    modes = ",".join(_MODES.get(mode, mode) for mode in status.get("accessModes") or ())
    created = age(obj["metadata"].get("creationTimestamp"), now)
    cells: Cells = [obj["metadata"]["name"], status.get("phase", ""), spec.get("volumeName", ""), capacity, modes]
    return [*cells, spec.get("storageClassName", ""), "<unset>", created, spec.get("volumeMode", "Filesystem")]


def _volume(obj: Obj, now: datetime) -> Cells:
    spec, claim = obj.get("spec", {}), obj.get("spec", {}).get("claimRef") or {}
    modes = ",".join(_MODES.get(mode, mode) for mode in spec.get("accessModes") or ())
    held = f"{claim['namespace']}/{claim['name']}" if claim else ""
    cells: Cells = [obj["metadata"]["name"], (spec.get("capacity") or {}).get("storage", ""), modes]
    cells += [spec.get("persistentVolumeReclaimPolicy", ""), obj.get("status", {}).get("phase", ""), held]
    cells += [spec.get("storageClassName", ""), "<unset>", ""]
    return [*cells, age(obj["metadata"].get("creationTimestamp"), now), spec.get("volumeMode", "Filesystem")]


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _named(*paths: str) -> Callable[[Obj, datetime], Cells]:
    def cells(obj: Obj, now: datetime) -> Cells:
        values = [_path(obj, path) for path in paths]
        return [obj["metadata"]["name"], *values, age(obj["metadata"].get("creationTimestamp"), now)]

    return cells


def _path(obj: Obj, path: str) -> Any:
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else value


def _columns(text: str) -> tuple[Column, ...]:
    """From `Name Ready Up-to-date:integer | Containers Images`: after the bar only in wide tables; _ is a space."""
    plain, _, wide = text.partition("|")
    columns = [(word, 0) for word in plain.split()] + [(word, 1) for word in wide.split()]
    return tuple((w.partition(":")[0].replace("_", " "), w.partition(":")[2] or "string", p) for w, p in columns)


_C = "| Containers Images"
TABLES: Mapping[str, tuple[tuple[Column, ...], Callable[[Obj, datetime], Cells]]] = {
    "Node": (
        _columns("Name Status Roles Age Version | Internal-IP External-IP OS-Image Kernel-Version Container-Runtime"),
        _node,
    ),
    "Pod": (_columns("Name Ready Status Restarts Age | IP Node Nominated_Node Readiness_Gates"), _pod),
    "Event": (
        # The real order, in which wide columns stand between the others.
        tuple(
            (name, kind, 1 if name in ("Subobject", "Source", "First Seen", "Count", "Name") else 0)
            for name, kind, _ in _columns(
                "Last_Seen Type Reason Object Subobject Source Message First_Seen Count:integer Name"
            )
        ),
        _event,
    ),
    "Namespace": (_columns("Name Status Age"), _named("status.phase")),
    "Service": (_columns("Name Type Cluster-IP External-IP Port(s) Age | Selector"), _service),
    "ConfigMap": (
        _columns("Name Data Age"),
        lambda o, now: [
            o["metadata"]["name"],
            len(o.get("data") or {}),
            age(o["metadata"].get("creationTimestamp"), now),
        ],
    ),
    "Secret": (
        _columns("Name Type Data Age"),
        lambda o, now: [
            o["metadata"]["name"],
            o.get("type", "Opaque"),
            len(o.get("data") or {}),
            age(o["metadata"].get("creationTimestamp"), now),
        ],
    ),
    "ServiceAccount": (
        _columns("Name Secrets Age"),
        lambda o, now: [
            o["metadata"]["name"],
            len(o.get("secrets") or ()),
            age(o["metadata"].get("creationTimestamp"), now),
        ],
    ),
    "PersistentVolumeClaim": (
        _columns("Name Status Volume Capacity Access_Modes StorageClass VolumeAttributesClass Age | VolumeMode"),
        _volume_claim,
    ),
    "PersistentVolume": (
        _columns(
            "Name Capacity Access_Modes Reclaim_Policy Status Claim StorageClass VolumeAttributesClass Reason Age "
            "| VolumeMode"
        ),
        _volume,
    ),
    "Deployment": (_columns(f"Name Ready Up-to-date Available Age {_C} Selector"), _deployment),
    "ReplicaSet": (_columns(f"Name Desired:integer Current:integer Ready:integer Age {_C} Selector"), _replica_set),
    "StatefulSet": (_columns(f"Name Ready Age {_C}"), _stateful_set),
    "DaemonSet": (
        _columns(
            "Name Desired:integer Current:integer Ready:integer Up-to-date:integer Available:integer Node_Selector Age "
            f"{_C} Selector"
        ),
        _daemon_set,
    ),
    "Job": (_columns(f"Name Status Completions Duration Age {_C} Selector"), _job),
    "CronJob": (
        _columns(f"Name Schedule Timezone Suspend Active:integer Last_Schedule Age {_C} Selector"),
        _cron_job,
    ),
    "PodDisruptionBudget": (_columns("Name Min_Available Max_Unavailable Allowed_Disruptions:integer Age"), _pdb),
    "Lease": (_columns("Name Holder Age"), _named("spec.holderIdentity")),
    "StorageClass": (
        _columns("Name Provisioner ReclaimPolicy VolumeBindingMode AllowVolumeExpansion:boolean Age"),
        _named("provisioner", "reclaimPolicy", "volumeBindingMode", "allowVolumeExpansion"),
    ),
    "PriorityClass": (_columns("Name Value:integer Global-Default:boolean Age"), _named("value", "globalDefault")),
    "CustomResourceDefinition": (
        _columns("Name Created_At"),
        lambda o, now: [o["metadata"]["name"], o["metadata"].get("creationTimestamp")],
    ),
}
_PLAIN = (_columns("Name Age"), _named())


def columns(kind: Kind) -> list[Obj]:
    """The table's columnDefinitions."""
    found = TABLES.get(kind.kind, _PLAIN)[0]
    if kind.custom:
        found = (("Name", "string", 0), *((n, t, p) for n, t, _, p in kind.columns), ("Age", "date", 0))
    return [
        {
            "name": name,
            "type": type_,
            "format": "name" if name == "Name" else "",
            "description": "",
            "priority": priority,
        }
        for name, type_, priority in found
    ]


def cells(kind: Kind, obj: Obj, now: datetime) -> Cells:
    """One row's cells."""
    if kind.custom:
        values = [_path(obj, path.lstrip(".")) for _, _, path, _ in kind.columns]
        return [obj["metadata"]["name"], *values, age(obj["metadata"].get("creationTimestamp"), now)]
    return TABLES.get(kind.kind, _PLAIN)[1](obj, now)
