"""A very large cluster: ten pools, pods of a real cluster's size in bytes, some of them on stale caches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from kubectl_imagecache.sandbox.kube.kinds import Obj
from kubectl_imagecache.sandbox.scenarios import shelf
from kubectl_imagecache.sandbox.scenarios.stage import (
    DiskImageSpec,
    PoolSpec,
    Stage,
    add_disk_image,
    add_pool,
    go_to,
    nodes_of,
)
from kubectl_imagecache.sandbox.scenarios.workloads import Workload, add_namespaces, controller, running_status

POOLS = 10
HASH = "7d9c5b8f6d"
CACHED = (f"{shelf.VLLM}:0.6.3", f"{shelf.EMBEDDER}:1.4.0", f"{shelf.GATEWAY}:7.13.2", f"{shelf.OTEL}:0.112.0")
ODD_POOLS_RUN = f"{shelf.VLLM}:0.6.6"
"""Which their disks lack; the even pools are fresh."""
OTHERS = (
    (f"{shelf.EMBEDDER}:1.4.0", f"{shelf.OTEL}:0.112.0"),
    (f"{shelf.GATEWAY}:7.13.2", f"{shelf.OTEL}:0.112.0"),
    (f"{shelf.OTEL}:0.112.0",),
)


def build(stage: Stage) -> None:
    """Fill STAGE with its `nodes` and `pods`."""
    for metric in ("CPUS", "INSTANCES", "DISKS_TOTAL_GB", "SSD_TOTAL_GB", "IN_USE_ADDRESSES"):
        stage.cloud.limit(metric, 1e9)
    go_to(stage, days=10)
    add_namespaces(stage, ["serving"])
    for number in range(min(POOLS, stage.nodes)):
        add_disk_image(stage, DiskImageSpec(f"pool-{number:02}-image", CACHED))
        nodes = _share(stage.nodes, number)
        add_pool(stage, PoolSpec(f"pool-{number:02}", nodes, f"pool-{number:02}-image", machine_type="n2-standard-64"))
    go_to(stage, days=2)
    for number in range(min(POOLS, stage.nodes)):
        _add_pods(stage, number)
    go_to(stage)


def _share(total: int, number: int) -> int:
    return total // POOLS + (number < total % POOLS)


def _add_pods(stage: Stage, number: int) -> None:
    names = [str(node["metadata"]["name"]) for node in nodes_of(stage, f"pool-{number:02}")]
    model = ODD_POOLS_RUN if number % 2 else CACHED[0]
    kinds = ((model, f"{shelf.OTEL}:0.112.0"), *OTHERS)
    pods = _share(stage.pods, number)
    for kind, images in enumerate(kinds):
        count = pods // len(kinds) + (kind < pods % len(kinds))
        name = f"service-{number:02}-{kind}"
        workload = Workload(name, images, f"pool-{number:02}", count, "serving", cpu="100m")
        owner = replica_set(stage, workload)
        pod = running_pod(stage, workload, owner)
        stage.kube.add_bulk_pods(pod, placements(owner["metadata"]["name"], count, names))


def placements(name: str, count: int, nodes: list[str]) -> Iterator[tuple[str, str]]:
    """Names and nodes of COUNT pods of a ReplicaSet, one node after another."""
    for pod in range(count):
        yield f"{name}-{pod:05x}", nodes[pod % len(nodes)]


def replica_set(stage: Stage, workload: Workload, annotations: Mapping[str, str] = MappingProxyType({})) -> Obj:
    """A Deployment, and the ReplicaSet that its controller would make of it; ANNOTATIONS are its pods'."""
    wanted = controller(workload)
    wanted["spec"]["template"]["metadata"]["annotations"] = dict(annotations)
    for container in wanted["spec"]["template"]["spec"]["containers"]:
        container |= _BAGGAGE
    deployment = stage.kube.create(wanted)
    labels = {"app": workload.name, "pod-template-hash": HASH}
    template = {**deployment["spec"]["template"], "metadata": {"labels": labels, "annotations": dict(annotations)}}
    return stage.kube.create(
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{workload.name}-{HASH}",
                "namespace": workload.namespace,
                "labels": labels,
                "ownerReferences": [_owner(deployment)],
            },
            "spec": {"replicas": workload.replicas, "selector": {"matchLabels": labels}, "template": template},
        }
    )


def running_pod(stage: Stage, workload: Workload, owner: Obj) -> Obj:
    """A Running pod with all that real ones drag along: environment, probes, mounts, managed fields."""
    template = owner["spec"]["template"]
    metadata = {
        "namespace": workload.namespace,
        "labels": template["metadata"]["labels"],
        "annotations": template["metadata"]["annotations"],
        "ownerReferences": [_owner(owner)],
        "managedFields": _MANAGED,
    }
    return {"metadata": metadata, "spec": template["spec"], "status": running_status(stage, workload, "amd64")}


def _owner(obj: Obj) -> Obj:
    about = obj["metadata"]
    found = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "name": about["name"], "uid": about["uid"]}
    return {**found, "controller": True, "blockOwnerDeletion": True}


_BAGGAGE: Obj = {
    "env": [
        {"name": f"SERVICE_SETTING_{n:02}", "value": f"https://settings.internal.example/v2/{n}"} for n in range(14)
    ],
    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
    "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10, "failureThreshold": 3},
    "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5, "failureThreshold": 2},
    "volumeMounts": [
        {
            "name": "kube-api-access-x2x4z",
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
            "readOnly": True,
        }
    ],
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "imagePullPolicy": "IfNotPresent",
}
_MANAGED: list[Obj] = [
    {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2026-01-13T09:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {f"f:field{n:02}": {".": {}, "f:name": {}, "f:value": {}} for n in range(36)}},
    }
    for manager in ("kube-controller-manager", "kubelet")
]
