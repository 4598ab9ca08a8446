"""The few fields of the API's objects that are decoded; everything is optional, for nothing from outside is sure."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Generic, TypeVar

import msgspec


class Wire(msgspec.Struct, rename="camel", gc=False):
    """A part of an API object: camelCase in JSON, invisible to the garbage collector (it has no cycles)."""


class Owner(Wire):
    """metadata.ownerReferences[]."""

    controller: bool | None = None


class Meta(Wire):
    """metadata."""

    name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    creation_timestamp: str | None = None
    owner_references: list[Owner] | None = None


class Container(Wire):
    """An entry of spec.containers, initContainers or ephemeralContainers."""

    name: str | None = None
    image: str | None = None
    resources: msgspec.Raw = msgspec.Raw()
    """Left undecoded: only templates look into it."""


class Resources(Wire):
    """A container's resources."""

    limits: dict[str, str | float | None] | None = None
    requests: dict[str, str | float | None] | None = None


class ImageSource(Wire):
    """spec.volumes[].image (KEP-4639)."""

    reference: str | None = None


class Volume(Wire):
    """spec.volumes[]."""

    image: ImageSource | None = None


class Expression(Wire):
    """A NodeSelectorRequirement, or a LabelSelectorRequirement."""

    key: str | None = None
    operator: str | None = None
    values: list[str] | None = None


class Term(Wire):
    """A NodeSelectorTerm."""

    match_expressions: list[Expression] | None = None
    match_fields: list[Expression] | None = None


class Required(Wire):
    """A NodeSelector."""

    node_selector_terms: list[Term] | None = None


class NodeAffinity(Wire):
    """spec.affinity.nodeAffinity."""

    required: Required | None = msgspec.field(default=None, name="requiredDuringSchedulingIgnoredDuringExecution")


class Affinity(Wire):
    """spec.affinity."""

    node_affinity: NodeAffinity | None = None


class TolerationWire(Wire):
    """spec.tolerations[]."""

    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None


class PodSpec(Wire):
    """A pod's spec, also within a workload's template."""

    node_name: str | None = None
    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    ephemeral_containers: list[Container] | None = None
    volumes: list[Volume] | None = None
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    tolerations: list[TolerationWire] | None = None


class ContainerStatus(Wire):
    """An entry of status.containerStatuses and its likes."""

    name: str | None = None
    image_id: str | None = msgspec.field(default=None, name="imageID")


class PodStatus(Wire):
    """A pod's status."""

    phase: str | None = None
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None
    ephemeral_container_statuses: list[ContainerStatus] | None = None


class Pod(Wire):
    """core/v1 Pod."""

    metadata: Meta | None = None
    spec: PodSpec | None = None
    status: PodStatus | None = None


class TaintWire(Wire):
    """spec.taints[]."""

    key: str | None = None
    value: str | None = None
    effect: str | None = None


class NodeSpec(Wire):
    """A node's spec."""

    taints: list[TaintWire] | None = None


class Condition(Wire):
    """status.conditions[] of a node or a Job."""

    type: str | None = None
    status: str | None = None


class NodeImage(Wire):
    """status.images[] of a node."""

    names: list[str] | None = None
    size_bytes: int | None = None


class NodeInfo(Wire):
    """status.nodeInfo."""

    architecture: str | None = None
    kubelet_version: str | None = None


class NodeStatus(Wire):
    """A node's status."""

    conditions: list[Condition] | None = None
    images: list[NodeImage] | None = None
    node_info: NodeInfo | None = None


class Node(Wire):
    """core/v1 Node."""

    metadata: Meta | None = None
    spec: NodeSpec | None = None
    status: NodeStatus | None = None


class Source(Wire):
    """source of an event."""

    host: str | None = None


class Event(Wire):
    """core/v1 Event."""

    metadata: Meta | None = None
    reason: str | None = None
    message: str | None = None
    source: Source | None = None
    reporting_instance: str | None = None
    last_timestamp: str | None = None
    event_time: str | None = None
    first_timestamp: str | None = None


class Template(Wire):
    """spec.template of a workload."""

    metadata: Meta | None = None
    spec: PodSpec | None = None


class JobSpec(Wire):
    """spec of a Job, also within a CronJob."""

    template: Template | None = None


class JobTemplate(Wire):
    """spec.jobTemplate of a CronJob."""

    spec: JobSpec | None = None


class WorkloadSpec(Wire):
    """The specs of all six workload kinds in one; each uses its own fields."""

    replicas: int | None = None
    parallelism: int | None = None
    suspend: bool | None = None
    template: Template | None = None
    job_template: JobTemplate | None = None


class WorkloadStatus(Wire):
    """The statuses of all six workload kinds in one."""

    desired_number_scheduled: int | None = None
    active: msgspec.Raw = msgspec.Raw()
    """A number in a Job, a list in a CronJob."""
    conditions: list[Condition] | None = None


class Workload(Wire):
    """A Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or CronJob."""

    metadata: Meta | None = None
    spec: WorkloadSpec | None = None
    status: WorkloadStatus | None = None


Item = TypeVar("Item", bound=Wire)


class ObjectMeta(Wire):
    """metadata of an object that is told from others by it."""

    name: str
    namespace: str | None = None
    resource_version: str | None = None


class Object(Wire):
    """An object that has a name."""

    metadata: ObjectMeta


class ListMeta(msgspec.Struct, rename={"next": "continue", "resource_version": "resourceVersion"}, gc=False):
    """metadata of a list."""

    next: str | None = None
    resource_version: str | None = None


class Page(Wire, Generic[Item]):
    """A list of one kind, or one page of it."""

    metadata: ListMeta | None = None
    items: list[Item] | None = None


class RawList(Wire):
    """Any list, its items not yet decoded."""

    kind: str | None = None
    metadata: ListMeta | None = None
    items: list[msgspec.Raw] | None = None


class Kind(Wire):
    """An object's own kind."""

    kind: str | None = None


# msgspec (0.22) crashes if threads are the first to use a type at the same time: each type is prepared here, by one.
for _shape in (Page[Pod], Page[Node], Page[Event], Page[Workload], RawList, Kind, Resources):
    msgspec.json.Decoder(_shape)


def parse_time(text: str | None) -> datetime | None:
    """An RFC 3339 time as the API prints it, UTC; None if there is none or it can't be read."""
    if not text or len(text) > 40:
        return None
    try:
        time = datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith("Z") else text)
        return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
