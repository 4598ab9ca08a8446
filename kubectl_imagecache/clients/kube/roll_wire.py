"""Nodes, pods and workload templates as a roll looks at them, decoded into the roll's own words."""

from __future__ import annotations

import msgspec

from kubectl_imagecache.clients.kube import wire
from kubectl_imagecache.clients.kube.nodes import DISK_LABELS, cache_disks
from kubectl_imagecache.clients.kube.wire import Object, ObjectMeta, Wire
from kubectl_imagecache.core.compute_class import CLASS_LABEL
from kubectl_imagecache.core.pins import Pin
from kubectl_imagecache.core.pools import POOL_LABEL
from kubectl_imagecache.core.probe import MANAGED_BY, PROGRAM, RUN
from kubectl_imagecache.core.roll import RollNode, RollPod
from kubectl_imagecache.core.roll_marks import MARKS
from kubectl_imagecache.core.roll_room import Volume

KINDS = {
    "deployments": ("Deployment", "/apis/apps/v1"),
    "statefulsets": ("StatefulSet", "/apis/apps/v1"),
    "daemonsets": ("DaemonSet", "/apis/apps/v1"),
    "cronjobs": ("CronJob", "/apis/batch/v1"),
    "jobs": ("Job", "/apis/batch/v1"),
}
"""Where workloads that can select a pool are: resource -> kind, root."""
_PASSING = frozenset({"", "ContainerCreating", "PodInitializing"})
_SAFE = "cluster-autoscaler.kubernetes.io/safe-to-evict"
_ZONES = ("topology.kubernetes.io/zone", "topology.gke.io/zone", "failure-domain.beta.kubernetes.io/zone")
_HOST = "kubernetes.io/hostname"
_MIRROR = "kubernetes.io/config.mirror"


class _Owner(Wire):
    kind: str | None = None
    name: str | None = None
    uid: str | None = None
    controller: bool | None = None


class _Meta(ObjectMeta):
    uid: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    owner_references: list[_Owner] | None = None
    finalizers: list[str] | None = None


class _Condition(Wire):
    type: str | None = None
    status: str | None = None


class _NodeSpec(Wire):
    unschedulable: bool | None = None


class _NodeStatus(Wire):
    conditions: list[_Condition] | None = None


class Node(Object):
    """A Node."""

    metadata: _Meta
    spec: _NodeSpec | None = None
    status: _NodeStatus | None = None


class _Claim(Wire):
    claim_name: str | None = None


class _Volume(Wire):
    persistent_volume_claim: _Claim | None = None
    empty_dir: dict[str, object] | None = None
    host_path: dict[str, object] | None = None


class _PodSpec(Wire):
    node_name: str | None = None
    node_selector: dict[str, str] | None = None
    affinity: wire.Affinity | None = None
    volumes: list[_Volume] | None = None
    termination_grace_period_seconds: float | None = None


class _Waiting(Wire):
    reason: str | None = None


class _State(Wire):
    waiting: _Waiting | None = None


class _Container(Wire):
    state: _State | None = None


class _PodStatus(Wire):
    phase: str | None = None
    conditions: list[_Condition] | None = None
    container_statuses: list[_Container] | None = None
    init_container_statuses: list[_Container] | None = None


class Pod(Object):
    """A Pod."""

    metadata: _Meta
    spec: _PodSpec | None = None
    status: _PodStatus | None = None


class _Template(Wire):
    spec: _PodSpec | None = None


class _JobSpec(Wire):
    template: _Template | None = None


class _JobTemplate(Wire):
    spec: _JobSpec | None = None


class _RollingUpdate(Wire):
    max_unavailable: int | str | None = None


class _Strategy(Wire):
    type: str | None = None
    rolling_update: _RollingUpdate | None = None


class _WorkloadSpec(Wire):
    replicas: int | None = None
    strategy: _Strategy | None = None
    """A Deployment's."""
    update_strategy: _Strategy | None = None
    """A StatefulSet's."""
    template: _Template | None = None
    job_template: _JobTemplate | None = None


class _WorkloadStatus(Wire):
    active: object = None
    """A number in a Job, a list in a CronJob."""


class Workload(Object):
    """A Deployment, StatefulSet, DaemonSet, CronJob or Job."""

    metadata: _Meta
    spec: _WorkloadSpec | None = None
    status: _WorkloadStatus | None = None


class _VolumeAffinity(Wire):
    required: wire.Required | None = None


class _ClaimRef(Wire):
    namespace: str | None = None
    name: str | None = None


class _VolumeSpec(Wire):
    claim_ref: _ClaimRef | None = None
    node_affinity: _VolumeAffinity | None = None
    local: dict[str, object] | None = None


class PersistentVolume(Object):
    """A PersistentVolume."""

    metadata: _Meta
    spec: _VolumeSpec | None = None


class _BudgetStatus(Wire):
    disruptions_allowed: int | None = None


class _BudgetSpec(Wire):
    selector: dict[str, object] | None = None


class Budget(Object):
    """A PodDisruptionBudget."""

    metadata: _Meta
    spec: _BudgetSpec | None = None
    status: _BudgetStatus | None = None


# Threads must not be the first to use a type (clients/kube/wire.py).
for _shape in (Node, Pod, Workload, Budget):
    msgspec.json.Decoder(_shape)
    msgspec.json.Decoder(wire.Page[_shape])  # type: ignore[valid-type] # made at run time


def node_of(node: Node) -> RollNode:
    """NODE in the roll's words."""
    labels, annotations = node.metadata.labels or {}, node.metadata.annotations or {}
    return RollNode(
        name=node.metadata.name,
        pool=labels.get(POOL_LABEL, ""),
        ready=_true(node.status.conditions if node.status else None, "Ready"),
        cordoned=bool(node.spec and node.spec.unschedulable),
        marks={mark: annotations[mark] for mark in MARKS if mark in annotations},
        disks=frozenset(cache_disks(labels)),
        zone=labels.get("topology.kubernetes.io/zone", ""),
        created=wire.parse_time(node.metadata.creation_timestamp),
        arch=labels.get("kubernetes.io/arch", ""),
    )


def pod_of(pod: Pod) -> RollPod:
    """POD in the roll's words."""
    meta, spec, status = pod.metadata, pod.spec or _PodSpec(), pod.status or _PodStatus()
    owner = next((one for one in meta.owner_references or () if one.controller), _Owner())
    containers = [*(status.init_container_statuses or ()), *(status.container_statuses or ())]
    waiting = [one.state.waiting.reason or "" for one in containers if one.state and one.state.waiting]
    volumes = spec.volumes or ()
    return RollPod(
        namespace=meta.namespace or "",
        name=meta.name,
        uid=meta.uid or "",
        node=spec.node_name or "",
        owner_kind=owner.kind or "",
        owner_uid=owner.uid or "",
        created=wire.parse_time(meta.creation_timestamp),
        ready=_true(status.conditions, "Ready"),
        leaving=meta.deletion_timestamp is not None,
        finished=status.phase in ("Succeeded", "Failed"),
        probe=(meta.labels or {}).get(MANAGED_BY) == PROGRAM and RUN in (meta.labels or {}),
        mirror=_MIRROR in (meta.annotations or {}),
        trouble=next((reason for reason in waiting if reason not in _PASSING and reason != "ErrImagePull"), ""),
        empty_dir=any(volume.empty_dir is not None for volume in volumes),
        local=any(volume.host_path is not None for volume in volumes),
        guarded=(meta.annotations or {}).get(_SAFE) == "false",
        selects_pool=(spec.node_selector or {}).get(POOL_LABEL, ""),
        selects_class=(spec.node_selector or {}).get(CLASS_LABEL, ""),
        claims=tuple(
            volume.persistent_volume_claim.claim_name or "" for volume in volumes if volume.persistent_volume_claim
        ),
        labels=meta.labels or {},
        owner_name=owner.name or "",
        grace_s=30.0 if spec.termination_grace_period_seconds is None else spec.termination_grace_period_seconds,
        held_by=tuple(meta.finalizers or ()),
    )


def volume_of(volume: PersistentVolume) -> Volume | None:
    """VOLUME in the roll's words; None if no claim is bound to it."""
    spec = volume.spec or _VolumeSpec()
    if spec.claim_ref is None:
        return None
    required = spec.node_affinity.required if spec.node_affinity else None
    terms = (required.node_selector_terms if required else None) or ()
    told = [one for term in terms for one in term.match_expressions or ()]
    zones = frozenset(value for one in told if one.key in _ZONES for value in one.values or ())
    on_node = spec.local is not None or any(one.key == _HOST for one in told)
    return Volume(f"{spec.claim_ref.namespace}/{spec.claim_ref.name}", zones, on_node)


def pins_of(workload: Workload, kind: str) -> list[Pin]:
    """How WORKLOAD's template selects pools or cache disks; a Job that runs nothing pins nothing."""
    if kind == "Job" and not (workload.status and workload.status.active):
        return []
    spec = workload.spec or _WorkloadSpec()
    template = spec.template
    if spec.job_template and spec.job_template.spec:
        template = spec.job_template.spec.template
    pod = (template.spec if template else None) or _PodSpec()
    meta = workload.metadata
    found = [(key, value, "nodeSelector") for key, value in (pod.node_selector or {}).items()]
    required = pod.affinity.node_affinity.required if pod.affinity and pod.affinity.node_affinity else None
    for term in (required.node_selector_terms if required else None) or ():
        for one in term.match_expressions or ():
            # Of several values one may be elsewhere: only the single one binds.
            if one.operator == "In" and one.key and len(one.values or ()) == 1:
                found.append((one.key, (one.values or [""])[0], "affinity"))
            elif one.operator == "Exists" and one.key:
                found.append((one.key, "", "affinity"))
    replicas = 1 if spec.replicas is None else spec.replicas
    down = _down(spec, kind, replicas)
    return [
        Pin(kind, meta.namespace or "", meta.name, key, value, by, down, replicas)
        for key, value, by in found
        if key == POOL_LABEL or key.startswith(DISK_LABELS)
    ]


def _down(spec: _WorkloadSpec, kind: str, replicas: int) -> int | None:
    """How many pods are down at a time while a new template is rolled out; None where none is.

    Percentages are rounded down for a Deployment, up for a StatefulSet, whose default is one
    (https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#max-unavailable, …/statefulset/).
    """
    if kind not in ("Deployment", "StatefulSet"):
        return None
    several = kind == "Deployment"
    strategy = (spec.strategy if several else spec.update_strategy) or _Strategy()
    if strategy.type in ("OnDelete", "Recreate"):
        return replicas if strategy.type == "Recreate" else None
    most = strategy.rolling_update.max_unavailable if strategy.rolling_update else None
    text = ("25%" if several else "1") if most is None else str(most)
    number = text.removesuffix("%")
    if not number.isdecimal():
        return replicas
    share = int(number) * (replicas if number != text else 100)
    return min(replicas, share // 100 if several else -(-share // 100))


def _true(conditions: list[_Condition] | None, kind: str) -> bool:
    return any(one.type == kind and one.status == "True" for one in conditions or ())
