"""The workloads of a scenario: plain data made into Deployments, DaemonSets, Jobs, CronJobs and their budgets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

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


def add_workloads(stage: Stage, *workloads: Workload) -> None:
    """Create them, with the namespaces that they need."""
    add_namespaces(stage, {workload.namespace for workload in workloads})
    for workload in workloads:
        stage.kube.create(_controller(workload))
        if workload.min_available is not None:
            stage.kube.create(_budget(workload))


def add_namespaces(stage: Stage, names: Iterable[str]) -> None:
    """Create those that don't exist yet."""
    known = {namespace["metadata"]["name"] for namespace in stage.kube.objects("Namespace")}
    for name in sorted(set(names) - known):
        stage.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def add_system(stage: Stage) -> None:
    """What GKE itself runs in every cluster."""

    def system(name: str, image: str, tag: str, kind: str = "DaemonSet", replicas: int = 1, arch: str = "") -> Workload:
        sizes = {"cpu": "50m", "arch": arch, "replicas": replicas}
        return Workload(name, (f"{image}:{tag}",), namespace="kube-system", kind=kind, **sizes)  # type: ignore[arg-type]

    add_workloads(
        stage,
        system("kube-proxy", shelf.KUBE_PROXY, "v1.32.9-gke.1130000", arch="amd64"),
        system("fluentbit-gke", shelf.FLUENT_BIT, "v1.9.10-gke.8"),
        system("gke-metrics-agent", shelf.METRICS_AGENT, "1.14.2-gke.0"),
        system("pdcsi-node", shelf.PD_CSI, "v1.15.4-gke.0"),
        system("kube-dns", shelf.KUBE_DNS, "1.23.0-gke.9", "Deployment", 2),
        system("metrics-server-v0.7.2", shelf.METRICS_SERVER, "v0.7.2-gke.3", "Deployment"),
    )


def _controller(workload: Workload) -> dict[str, Any]:
    labels = {"app": workload.name}
    template: dict[str, Any] = {"metadata": {"labels": labels}, "spec": pod_spec(workload)}
    metadata = {"name": workload.name, "namespace": workload.namespace, "labels": labels}
    if workload.schedule:
        template["spec"]["restartPolicy"] = "OnFailure"
        spec = {"schedule": workload.schedule, "suspend": True, "jobTemplate": {"spec": {"template": template}}}
        return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec}
    controller: dict[str, Any] = {"template": template}
    if workload.kind == "Job":
        template["spec"]["restartPolicy"] = "OnFailure"
        controller |= {"parallelism": workload.replicas, "completions": workload.replicas}
    else:
        controller["selector"] = {"matchLabels": labels}
    if workload.kind in ("Deployment", "StatefulSet"):
        controller["replicas"] = workload.replicas
    return {
        "apiVersion": _API_VERSIONS[workload.kind],
        "kind": workload.kind,
        "metadata": metadata,
        "spec": controller,
    }


def pod_spec(workload: Workload) -> dict[str, Any]:
    """The pods' spec."""
    containers: list[dict[str, Any]] = [
        {"name": _container_name(ref, number), "image": ref} for number, ref in enumerate(workload.images)
    ]
    containers[0]["resources"] = {"requests": {"cpu": workload.cpu, "memory": "512Mi"}}
    selector = {POOL_LABEL: workload.pool} if workload.pool else {}
    if workload.arch:
        selector["kubernetes.io/arch"] = workload.arch
    # What runs everywhere, or on a pool by name, has been told to bear that pool's taint.
    everywhere = workload.kind == "DaemonSet" or workload.pool
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
