"""The workloads of a scenario: plain data made into Deployments, DaemonSets, Jobs, CronJobs and their budgets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kubectl_imagecache.core.compute_class import CLASS_LABEL
from kubectl_imagecache.sandbox.catalog import Catalog
from kubectl_imagecache.sandbox.scenarios import shelf
from kubectl_imagecache.sandbox.scenarios.stage import Stage

POOL_LABEL = "cloud.google.com/gke-nodepool"
_API_VERSIONS = {"Deployment": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1", "Job": "batch/v1"}


@dataclass(frozen=True, slots=True)
class Workload:
    """Pods of one kind, and the controller that keeps them."""

    name: str
    images: tuple[str, ...]
    """Of the containers: the main one and plain side containers."""
    pool: str = ""
    """Node selector; empty is any pool without a taint."""
    replicas: int = 1
    namespace: str = "default"
    kind: str = "Deployment"
    init: tuple[str, ...] = ()
    sidecars: tuple[str, ...] = ()
    """Init containers that restart always, started after `init`."""
    cpu: str = "500m"
    """Requested by the main container."""
    min_available: int | None = None
    """With a PodDisruptionBudget."""
    arch: str = ""
    """Node selector; empty is any."""
    schedule: str = ""
    """Of a CronJob, which is suspended."""
    compute_class: str = ""
    """Node selector; empty is none."""
    tolerant: bool = True
    """Whether pods of a pool by name bear every taint, that of nodes which are not Ready yet among them."""


def add_workloads(stage: Stage, *workloads: Workload) -> None:
    """Create them, with the namespaces that they need."""
    add_namespaces(stage, {workload.namespace for workload in workloads})
    for workload in workloads:
        stage.kube.create(controller(workload))
        if workload.min_available is not None:
            stage.kube.create(_budget(workload))


def add_namespaces(stage: Stage, names: Iterable[str]) -> None:
    """Create those that don't exist yet."""
    known = {namespace["metadata"]["name"] for namespace in stage.kube.objects("Namespace")}
    for name in sorted(set(names) - known):
        stage.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def add_system(stage: Stage) -> None:
    """What GKE itself runs in every cluster; call it when all pools are there."""
    common: dict[str, Any] = {"namespace": "kube-system", "kind": "DaemonSet", "cpu": "50m"}
    version = "v1.32.9-gke.1130000"
    add_daemons(stage, Workload("kube-proxy", (f"{shelf.KUBE_PROXY}:{version}",), arch="amd64", **common))
    add_daemons(stage, Workload("fluentbit-gke", (f"{shelf.FLUENT_BIT}:v1.9.10-gke.8",), **common))
    add_daemons(stage, Workload("gke-metrics-agent", (f"{shelf.METRICS_AGENT}:1.14.2-gke.0",), **common))
    add_daemons(stage, Workload("pdcsi-node", (f"{shelf.PD_CSI}:v1.15.4-gke.0",), **common))


def add_daemons(stage: Stage, workload: Workload) -> None:
    """A DaemonSet whose pods run already: seeing each of them start would be most of the time that a sandbox takes."""
    made = stage.kube.create(controller(workload))
    about = made["metadata"]
    owner = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "name": about["name"],
        "uid": about["uid"],
        "controller": True,
    }
    metadata = {"namespace": workload.namespace, "labels": {"app": workload.name}, "ownerReferences": [owner]}
    nodes: dict[str, list[str]] = {}
    for node in stage.kube.objects("Node"):
        arch = node["metadata"]["labels"]["kubernetes.io/arch"]
        if workload.arch in ("", arch):
            nodes.setdefault(arch, []).append(node["metadata"]["name"])
    for arch, names in nodes.items():
        pod = {"metadata": metadata, "spec": pod_spec(workload), "status": running_status(stage, workload, arch)}
        stage.kube.add_bulk_pods(pod, [(f"{workload.name}-{name[-8:]}", name) for name in names])


def running_status(stage: Stage, workload: Workload, arch: str) -> dict[str, Any]:
    """The status of a pod whose containers all run since now."""
    now = f"{stage.world.clock.now():%Y-%m-%dT%H:%M:%SZ}"
    conditions = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "phase": "Running",
        "startTime": now,
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in conditions],
        "containerStatuses": [
            _running_container(stage.catalog, _container_name(ref, number), ref, arch, now)
            for number, ref in enumerate(workload.images)
        ],
    }


def _running_container(catalog: Catalog, name: str, ref: str, arch: str, since: str) -> dict[str, Any]:
    image = catalog.cached(ref, arch)
    return {
        "name": name,
        "image": ref,
        "imageID": f"{image.ref.name}@{image.digest}",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "containerID": f"containerd://{image.digest.removeprefix('sha256:')}",
        "state": {"running": {"startedAt": since}},
    }


def controller(workload: Workload) -> dict[str, Any]:
    """The object that keeps the pods."""
    labels = {"app": workload.name}
    template: dict[str, Any] = {"metadata": {"labels": labels}, "spec": pod_spec(workload)}
    metadata = {"name": workload.name, "namespace": workload.namespace, "labels": labels}
    if workload.schedule:
        template["spec"]["restartPolicy"] = "OnFailure"
        job = {"spec": {"template": template}}
        suspended = {"schedule": workload.schedule, "suspend": True, "jobTemplate": job}
        return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": suspended}
    spec: dict[str, Any] = {"template": template}
    if workload.kind == "Job":
        template["spec"]["restartPolicy"] = "OnFailure"
        spec |= {"parallelism": workload.replicas, "completions": workload.replicas}
    else:
        spec["selector"] = {"matchLabels": labels}
    if workload.kind in ("Deployment", "StatefulSet"):
        spec["replicas"] = workload.replicas
    return {
        "apiVersion": _API_VERSIONS[workload.kind],
        "kind": workload.kind,
        "metadata": metadata,
        "spec": spec,
    }


def pod_spec(workload: Workload) -> dict[str, Any]:
    """The pods' spec."""
    containers: list[dict[str, Any]] = [
        {"name": _container_name(ref, number), "image": ref} for number, ref in enumerate(workload.images)
    ]
    containers[0]["resources"] = {"requests": {"cpu": workload.cpu, "memory": "512Mi"}}
    selector = {POOL_LABEL: workload.pool} if workload.pool else {}
    if workload.compute_class:
        selector[CLASS_LABEL] = workload.compute_class
    if workload.arch:
        selector["kubernetes.io/arch"] = workload.arch
    # What runs everywhere, or on a pool by name, has been told to bear that pool's taint.
    everywhere = workload.kind == "DaemonSet" or (workload.pool and workload.tolerant)
    once = [{"name": f"init-{_container_name(ref, 0)}", "image": ref} for ref in workload.init]
    always = [{"name": _container_name(ref, 0), "image": ref, "restartPolicy": "Always"} for ref in workload.sidecars]
    return {
        "containers": containers,
        **({"initContainers": [*once, *always]} if once or always else {}),
        **({"nodeSelector": selector} if selector else {}),
        **({"tolerations": [{"operator": "Exists"}]} if everywhere else {}),
    }


def _budget(workload: Workload) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": workload.name, "namespace": workload.namespace},
        "spec": {"minAvailable": workload.min_available, "selector": {"matchLabels": {"app": workload.name}}},
    }


def _container_name(ref: str, number: int) -> str:
    name = ref.partition("@")[0].rpartition("/")[2].partition(":")[0].replace(".", "-")
    return f"{name}-{number}" if number else name
