"""Workload templates that run nothing now, as demand that may come."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec

from kubectl_imagecache.clients.kube import wire
from kubectl_imagecache.clients.kube.images import Images
from kubectl_imagecache.clients.kube.options import Scope
from kubectl_imagecache.clients.kube.pods import constraints_of, named_images
from kubectl_imagecache.clients.kube.selectors import Selector
from kubectl_imagecache.core.demand import Toleration, Unplaced
from kubectl_imagecache.core.views import Gap

KINDS = {
    "deployments": "Deployment",
    "statefulsets": "StatefulSet",
    "daemonsets": "DaemonSet",
    "replicasets": "ReplicaSet",
    "jobs": "Job",
    "cronjobs": "CronJob",
}
"""Resources that are read, and their kinds."""


@dataclass(slots=True)
class TemplateFold:
    """The templates of one kind read so far that run nothing."""

    kind: str
    scope: Scope
    selector: Selector = ()
    images: Images = field(default_factory=Images)
    found: list[Unplaced] = field(default_factory=list)

    def add(self, workload: wire.Workload) -> None:
        """Keep WORKLOAD if it runs nothing, is nobody else's and is in scope."""
        meta, spec = workload.metadata, workload.spec
        if meta is None or spec is None or not self.scope.counts(meta.namespace or ""):
            return
        if any(owner.controller for owner in meta.owner_references or ()):
            return  # Its owner's template counts.
        if not runs_nothing(self.kind, spec, workload.status or wire.WorkloadStatus()):
            return
        template = spec.template
        if self.kind == "CronJob":
            job = spec.job_template.spec if spec.job_template else None
            template = job.template if job else None
        if template is None or template.spec is None:
            return
        labels = (template.metadata.labels if template.metadata else None) or {}
        if not all(term.matches(labels) for term in self.selector):
            return
        refs = {ref for _, text in named_images(template.spec) if (ref := self.images.ref(text)) is not None}
        if refs:
            name = f"{self.kind} {meta.namespace or ''}/{meta.name or ''}"
            constraints = constraints_of(template.spec)
            tolerations = constraints.tolerations | tolerations_of_devices(template.spec)
            self.found.append(Unplaced(replace(constraints, tolerations=tolerations), tuple(sorted(refs)), 0, name))

    def gaps(self) -> list[Gap]:
        """What could not be read."""
        return self.images.gaps(f"{self.kind} templates")


def tolerations_of_devices(spec: wire.PodSpec) -> frozenset[Toleration]:
    """What GKE will add to a pod that asks for GPUs or TPUs: a template doesn't have it yet.

    https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#extendedresourcetoleration
    """
    names: set[str] = set()
    for container in (*(spec.containers or ()), *(spec.init_containers or ())):
        try:
            resources = msgspec.json.decode(container.resources or b"{}", type=wire.Resources)
        except msgspec.MsgspecError:
            continue  # A template of a form that no API server would take asks for nothing.
        names.update(resources.limits or (), resources.requests or ())
    # Extended resources are named with a domain, and kubernetes.io is Kubernetes' own.
    devices = {name for name in names if "/" in name and not name.partition("/")[0].endswith("kubernetes.io")}
    return frozenset(Toleration(name, "Exists", "", "NoSchedule") for name in devices)


def runs_nothing(kind: str, spec: wire.WorkloadSpec, status: wire.WorkloadStatus) -> bool:
    """Whether a workload of KIND wants no pod now, but may later; a finished Job never will."""
    if kind == "DaemonSet":
        return not status.desired_number_scheduled
    if kind == "CronJob":
        return bytes(status.active) in (b"", b"null", b"[]")
    if kind == "Job":
        over = any(one.type in ("Complete", "Failed") and one.status == "True" for one in status.conditions or ())
        return not over and (spec.suspend is True or spec.parallelism == 0)
    return spec.replicas == 0
