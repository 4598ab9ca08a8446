"""Node pools, their cache disks and their nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from kubectl_imagecache.core.contents import Contents, UnreadableRecord

POOL_LABEL = "cloud.google.com/gke-nodepool"
"""Node label: the name of its pool."""


@dataclass(frozen=True, slots=True, order=True)
class DiskImageRef:
    """A Compute Engine disk image's identity; every spelling is reduced to this."""

    project: str
    name: str

    def __str__(self) -> str:
        return f"projects/{self.project}/global/images/{self.name}"


class DiskMode(Enum):
    """What GKE does with a secondary boot disk."""

    CACHE = "CONTAINER_IMAGE_CACHE"
    DATA = "MODE_UNSPECIFIED"
    """A plain data disk: it caches nothing."""


@dataclass(frozen=True, slots=True)
class SecondaryDisk:
    """A pool's secondary boot disk."""

    image: DiskImageRef
    mode: DiskMode


class DiskState(Enum):
    """A disk image's condition: Compute's `status` with its `deprecated.state` folded in."""

    READY = "READY"
    PENDING = "PENDING"
    FAILED = "FAILED"
    DEPRECATED = "DEPRECATED"
    """Still usable, but its owner says not to."""
    OBSOLETE = "OBSOLETE"
    """New disks can't be made from it."""
    DELETED = "DELETED"
    MISSING = "MISSING"
    """Compute answers 404."""


@dataclass(frozen=True, slots=True)
class DiskImage:
    """A Compute Engine disk image as it is now."""

    ref: DiskImageRef
    state: DiskState
    id: str = ""
    """Compute's numeric id, decimal; differs when an image of the same name is made again."""
    created: datetime | None = None
    size_gb: int | None = None
    """Size of a disk made from it, in GiB (Compute's diskSizeGb)."""
    archive_bytes: int | None = None
    """Bytes that are billed as storage."""
    arch: str = ""
    """`amd64`, `arm64`; empty is not stated."""
    family: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    replacement: str = ""
    """What `deprecated.replacement` names, as `projects/P/global/images/X`; empty if none."""
    deprecated_at: datetime | None = None
    """Since when it is deprecated, by our label `imagecache-deprecated` or else by Compute's own word; None if neither
    says it, and for one that isn't deprecated."""
    contents: Contents | UnreadableRecord | None = None
    """None: there is no record."""


@dataclass(frozen=True, slots=True)
class Taint:
    """A node's taint."""

    key: str
    value: str
    effect: str
    """NoSchedule, PreferNoSchedule, NoExecute."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A GKE node pool, from GKE's API or, without it, from what its nodes' labels tell."""

    name: str
    disks: tuple[SecondaryDisk, ...] = ()
    location: str = ""
    """The cluster's region or zone."""
    status: str = ""
    """GKE's: RUNNING, PROVISIONING, ERROR, …; empty is unknown."""
    version: str = ""
    """`1.31.2-gke.1354000`; empty is unknown."""
    image_type: str = ""
    """Node image: COS_CONTAINERD, UBUNTU_CONTAINERD, …; empty is unknown."""
    machine_type: str = ""
    image_streaming: bool | None = None
    """None is unknown."""
    arch: str = ""
    """`amd64`, `arm64`; empty is unknown."""
    autoprovisioned: bool = False
    cluster: str = ""
    """`projects/P/locations/L/clusters/C`; empty is unknown."""
    node_labels: frozenset[tuple[str, str]] = frozenset()
    """What new nodes will carry (config.labels): tells where pods go while the pool has no nodes."""
    node_taints: frozenset[Taint] = frozenset()
    """config.taints, with Kubernetes' effect names."""
    resource_labels: frozenset[tuple[str, str]] = frozenset()
    """The cluster's and the pool's own (config.resourceLabels); GKE only."""
    known_from: str = "gke"
    """`gke` or `nodes`."""

    @property
    def cache_disks(self) -> tuple[SecondaryDisk, ...]:
        """Those in mode CONTAINER_IMAGE_CACHE."""
        return tuple(disk for disk in self.disks if disk.mode is DiskMode.CACHE)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What is kept of a Kubernetes node."""

    name: str
    pool: str
    """Label cloud.google.com/gke-nodepool; empty if the node has none."""
    created: datetime | None
    arch: str = ""
    ready: bool = True
    image_streaming: bool = False
    cache_disks: tuple[DiskImageRef, ...] = ()
    """From the nodes' cache-disk labels, both spellings."""
    kubelet_version: str = ""
    os: str = ""
    """Label cloud.google.com/gke-os-distribution: `cos`, `ubuntu`; empty if none."""


@dataclass(frozen=True, slots=True)
class NodeShape:
    """What the scheduler sees of a group of like nodes: for placing pods that don't run yet."""

    pool: str
    labels: frozenset[tuple[str, str]]
    """Without those that differ by node (kubernetes.io/hostname)."""
    taints: frozenset[Taint]
