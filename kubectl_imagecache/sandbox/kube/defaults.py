"""What the API server fills in on a create, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

from kubectl_imagecache.sandbox.kube.kinds import Kind, Obj
from kubectl_imagecache.sandbox.kube.status import ApiError, invalid
from kubectl_imagecache.sandbox.kube.store import Store, stamp

_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_LABEL_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_OMITTED_IF_EMPTY = ("labels", "annotations", "ownerReferences", "finalizers", "managedFields", "generateName")
_WORKLOADS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")


def prepare(kind: Kind, obj: Obj, store: Store) -> Obj:
    """OBJ as it is stored on a create: named, stamped, defaulted; raise ApiError 422."""
    metadata = obj.setdefault("metadata", {})
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = metadata["generateName"] + store.suffix()
    if not metadata.get("name"):
        raise invalid(
            kind, "", "metadata.name", "Required value: name or generateName is required", "FieldValueRequired"
        )
    if not kind.namespaced:
        metadata.pop("namespace", None)
    metadata.setdefault("uid", store.uid())
    metadata.setdefault("creationTimestamp", stamp(store.clock.now()))
    if metadata["creationTimestamp"] is None:
        metadata["creationTimestamp"] = stamp(store.clock.now())
    if "spec" in obj and kind.kind not in ("Node", "Namespace", "Service"):
        metadata.setdefault("generation", 1)
    if kind.kind == "Event":
        to_core_event(obj)
    _fill(kind, obj)
    validate(kind, obj)
    return obj


def validate(kind: Kind, obj: Obj) -> None:
    """Refuse what the real server would refuse first, and drop what it leaves out; raise ApiError 422."""
    metadata = obj["metadata"]
    for empty in [name for name in _OMITTED_IF_EMPTY if name in metadata and not metadata[name]]:
        del metadata[empty]
    name = metadata["name"]
    if not _NAME.match(name) or len(name) > 253:
        raise invalid(kind, name, "metadata.name", f'Invalid value: "{name}": {_NAME_RULE}')
    for key, value in (metadata.get("labels") or {}).items():
        if not isinstance(value, str) or len(value) > 63 or not _LABEL_VALUE.match(value):
            raise invalid(kind, name, "metadata.labels", f'Invalid value: "{value}": {_LABEL_RULE}')
        if len(key.rpartition("/")[2]) > 63 or not key.rpartition("/")[2]:
            message = f'Invalid value: "{key}": name part must be no more than 63 characters'
            raise invalid(kind, name, "metadata.labels", message)
    try:
        if kind.kind == "Pod":
            _pod_spec_valid(kind, name, obj.get("spec") or {}, "spec")
        elif kind.kind in _WORKLOADS:
            _workload_valid(kind, name, obj.get("spec") or {})
        elif kind.kind == "Job":
            _job_valid(kind, name, obj.get("spec") or {})
    except (AttributeError, TypeError, KeyError) as error:
        raise ApiError(400, f"{kind.kind} in version {kind.version!r} cannot be handled: {error}") from error


def _pod_spec_valid(kind: Kind, name: str, spec: Obj, path: str) -> None:
    if not spec.get("containers"):
        raise invalid(kind, name, f"{path}.containers", "Required value", "FieldValueRequired")
    for i, container in enumerate(spec["containers"]):
        if not container.get("name"):
            raise invalid(kind, name, f"{path}.containers[{i}].name", "Required value", "FieldValueRequired")
        if not container.get("image"):
            raise invalid(kind, name, f"{path}.containers[{i}].image", "Required value", "FieldValueRequired")


def _workload_valid(kind: Kind, name: str, spec: Obj) -> None:
    selector = (spec.get("selector") or {}).get("matchLabels") or {}
    if not spec.get("selector"):
        raise invalid(kind, name, "spec.selector", "Required value", "FieldValueRequired")
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        message = f"Invalid value: {labels}: `selector` does not match template `labels`"
        raise invalid(kind, name, "spec.template.metadata.labels", message)
    _pod_spec_valid(kind, name, template.get("spec") or {}, "spec.template.spec")


def _job_valid(kind: Kind, name: str, spec: Obj) -> None:
    pods, path = (spec.get("template") or {}).get("spec") or {}, "spec.template.spec"
    if pods.get("restartPolicy") not in ("OnFailure", "Never"):
        why = 'Required value: valid values: "OnFailure", "Never"'
        raise invalid(kind, name, f"{path}.restartPolicy", why, "FieldValueRequired")
    _pod_spec_valid(kind, name, pods, path)


def _fill(kind: Kind, obj: Obj) -> None:
    fill = _FILLERS.get(kind.kind)
    if fill is not None:
        fill(obj)


def _pod(pod: Obj) -> None:
    spec = pod.setdefault("spec", {})
    fill_pod_spec(spec)
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    spec.setdefault("priority", 0)
    tolerations = spec.setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(t.get("key") in (key, None) and t.get("effect") in ("NoExecute", None, "") for t in tolerations):
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
    status = pod.setdefault("status", {})
    status.setdefault("phase", "Pending")
    status.setdefault("qosClass", _qos(spec))


def fill_pod_spec(spec: Obj) -> None:
    """A pod spec's defaults, in pods and templates alike."""
    for name, value in (
        ("restartPolicy", "Always"),
        ("terminationGracePeriodSeconds", 30),
        ("dnsPolicy", "ClusterFirst"),
        ("schedulerName", "default-scheduler"),
    ):
        spec.setdefault(name, value)
    spec.setdefault("securityContext", {})
    for container in (spec.get("containers") or []) + (spec.get("initContainers") or []):
        container.setdefault("imagePullPolicy", _pull_policy(container.get("image", "")))
        container.setdefault("resources", {})
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        limits = container["resources"].get("limits")
        if limits:
            container["resources"]["requests"] = {**limits, **(container["resources"].get("requests") or {})}
        for port in container.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _pull_policy(image: str) -> str:
    if "@" in image:
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _qos(spec: Obj) -> str:
    resources = [c.get("resources") or {} for c in spec.get("containers") or ()]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    for r in resources:
        limits = r.get("limits") or {}
        if set(limits) < {"cpu", "memory"} or (r.get("requests") or limits) != limits:
            return "Burstable"
    return "Guaranteed"


def _workload(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    if obj["kind"] != "DaemonSet":
        spec.setdefault("replicas", 1)
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {}).setdefault("creationTimestamp", None)
    fill_pod_spec(template.setdefault("spec", {}))
    more: dict[str, Obj] = {
        "Deployment": {
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
        },
        "StatefulSet": {
            "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "revisionHistoryLimit": 10,
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        },
        "DaemonSet": {
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "revisionHistoryLimit": 10,
        },
    }
    for name, value in more.get(obj["kind"], {}).items():
        spec.setdefault(name, value)
    obj.setdefault("status", {} if obj["kind"] == "Deployment" else {"replicas": 0})


def _job(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("parallelism") is None:
        spec["parallelism"] = 1
        spec.setdefault("completions", 1)
    for name, value in (("backoffLimit", 6), ("completionMode", "NonIndexed"), ("suspend", False)):
        spec.setdefault(name, value)
    uid = obj["metadata"]["uid"]
    labels = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": obj["metadata"]["name"]}
    spec.setdefault("selector", {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}})
    template = spec.setdefault("template", {})
    old = template.setdefault("metadata", {}).get("labels") or {}
    template["metadata"]["labels"] = {**old, **labels, "controller-uid": uid, "job-name": obj["metadata"]["name"]}
    fill_pod_spec(template.setdefault("spec", {}))
    obj.setdefault("status", {})


def _cron_job(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    for name, value in (
        ("concurrencyPolicy", "Allow"),
        ("suspend", False),
        ("successfulJobsHistoryLimit", 3),
        ("failedJobsHistoryLimit", 1),
    ):
        spec.setdefault(name, value)
    fill_pod_spec(
        spec.setdefault("jobTemplate", {}).setdefault("spec", {}).setdefault("template", {}).setdefault("spec", {})
    )
    obj.setdefault("status", {})


def _namespace(obj: Obj) -> None:
    obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    obj.setdefault("status", {}).setdefault("phase", "Active")
    labels = obj["metadata"].setdefault("labels", {})
    labels.setdefault("kubernetes.io/metadata.name", obj["metadata"]["name"])


def _service(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    number = int(obj["metadata"]["uid"][:6], 16)
    spec.setdefault("clusterIP", f"34.118.{number >> 8 & 255}.{number & 255}")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
    obj.setdefault("status", {"loadBalancer": {}})


def _claim(obj: Obj) -> None:
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def _volume(obj: Obj) -> None:
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    obj["spec"].setdefault("persistentVolumeReclaimPolicy", "Retain")
    obj.setdefault("status", {}).setdefault("phase", "Available")


def _storage_class(obj: Obj) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def _pdb(obj: Obj) -> None:
    obj.setdefault("spec", {})
    obj.setdefault("status", {"currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0, "disruptionsAllowed": 0})


def _node(obj: Obj) -> None:
    obj.setdefault("spec", {})
    info = obj.setdefault("status", {}).setdefault("nodeInfo", {})
    for name in _NODE_INFO:
        info.setdefault(name, "")
    labels = obj["metadata"].setdefault("labels", {})
    labels.setdefault("kubernetes.io/hostname", obj["metadata"]["name"])


_NODE_INFO = (
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
)
"""Always there in NodeSystemInfo; empty where the node doesn't tell."""

_FILLERS: dict[str, Any] = {
    "Pod": _pod,
    **dict.fromkeys(_WORKLOADS, _workload),
    "Job": _job,
    "CronJob": _cron_job,
    "Namespace": _namespace,
    "Service": _service,
    "PersistentVolumeClaim": _claim,
    "PersistentVolume": _volume,
    "StorageClass": _storage_class,
    "PodDisruptionBudget": _pdb,
    "Node": _node,
}

_EVENT_NAMES = (
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
)


def to_core_event(event: Obj) -> Obj:
    """An events.k8s.io/v1 Event's fields under core/v1's names, in place: the form in which events are stored."""
    for new, old in _EVENT_NAMES:
        if new in event:
            event[old] = event.pop(new)
    event.setdefault("reportingComponent", (event.get("source") or {}).get("component", ""))
    event.setdefault("reportingInstance", (event.get("source") or {}).get("host", ""))
    return event


def to_new_event(event: Obj) -> Obj:
    """A stored Event under events.k8s.io/v1's names, in place."""
    for new, old in _EVENT_NAMES:
        if old in event:
            event[new] = event.pop(old)
    event["apiVersion"] = "events.k8s.io/v1"
    return event
