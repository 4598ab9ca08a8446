"""What GKE says about a cluster's node pools."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from kubectl_imagecache.clients.google_http import Api, GoogleHttp
from kubectl_imagecache.clients.http import segment, split
from kubectl_imagecache.clients.target import ClusterSummary, ClusterTarget
from kubectl_imagecache.core.errors import BadAnswer, NotFound
from kubectl_imagecache.core.pools import DiskImageRef, DiskMode, Pool, SecondaryDisk, Taint

_T = TypeVar("_T")
ROLE = "roles/container.clusterViewer"
# A project is an id, a number, or `example.com:id` (domain-scoped).
_SPELLING = re.compile(
    r"(?:https?://[^/]+/)?(?:compute/[a-z0-9]+/)?"
    r"(?:projects/(?P<project>[a-z0-9.:-]+)/)?(?:global/images/)?(?P<name>[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)"
)
_ARM_FAMILIES = frozenset({"t2a", "c4a", "n4a", "a4x"})
"""Machine families with Arm processors: Ampere Altra, Google Axion, NVIDIA Grace."""
TAINT_EFFECTS = {"NO_SCHEDULE": "NoSchedule", "PREFER_NO_SCHEDULE": "PreferNoSchedule", "NO_EXECUTE": "NoExecute"}


class _Enabled(msgspec.Struct):
    enabled: bool | None = None


class _SecondaryBootDisk(msgspec.Struct, rename="camel"):
    disk_image: str | None = None
    mode: str | None = None


class _Taint(msgspec.Struct):
    key: str | None = None
    value: str | None = None
    effect: str | None = None


class _Config(msgspec.Struct, rename="camel"):
    machine_type: str | None = None
    image_type: str | None = None
    secondary_boot_disks: list[_SecondaryBootDisk] | None = None
    gcfs_config: _Enabled | None = None
    labels: dict[str, str] | None = None
    resource_labels: dict[str, str] | None = None
    taints: list[_Taint] | None = None


class _Autoscaling(msgspec.Struct):
    autoprovisioned: bool | None = None


class _NodePool(msgspec.Struct):
    name: str
    config: _Config | None = None
    status: str | None = None
    version: str | None = None
    autoscaling: _Autoscaling | None = None


class _ConfigDefaults(msgspec.Struct, rename="camel"):
    gcfs_config: _Enabled | None = None


class _PoolDefaults(msgspec.Struct, rename="camel"):
    node_config_defaults: _ConfigDefaults | None = None


class _PrivateCluster(msgspec.Struct, rename="camel"):
    public_endpoint: str | None = None
    private_endpoint: str | None = None


class _DnsEndpoint(msgspec.Struct):
    endpoint: str | None = None


class _ControlPlane(msgspec.Struct, rename="camel"):
    dns_endpoint_config: _DnsEndpoint | None = None
    ip_endpoints_config: _PrivateCluster | None = None


class _Cluster(msgspec.Struct, rename="camel"):
    name: str
    self_link: str | None = None
    location: str | None = None
    zone: str | None = None
    """The older name of location."""
    endpoint: str | None = None
    private_cluster_config: _PrivateCluster | None = None
    control_plane_endpoints_config: _ControlPlane | None = None
    node_pool_defaults: _PoolDefaults | None = None
    node_pools: list[_NodePool] | None = None
    resource_labels: dict[str, str] | None = None


class _Clusters(msgspec.Struct, rename="camel"):
    clusters: list[_Cluster] | None = None
    missing_zones: list[str] | None = None


# msgspec (0.22) crashes if threads are the first to use a type at the same time: each type is prepared here, by one.
for _kind in (_Cluster, _Clusters):
    msgspec.json.Decoder(_kind)


@dataclass(frozen=True, slots=True)
class ClusterDocument:
    """One cluster with its pools, as a document told it."""

    target: ClusterSummary
    pools: tuple[Pool, ...]


class Gke:
    """GKE's API, read only."""

    def __init__(self, http: GoogleHttp) -> None:
        self._http = http

    def pools(self, target: ClusterTarget) -> tuple[Pool, ...]:
        """The pools of the cluster, in GKE's order, by one request.

        Raises NotFound, NotPermitted, Unauthenticated, Unavailable, BadAnswer.
        """
        path = (
            f"projects/{segment(target.project)}/locations/{segment(target.location)}/clusters/{segment(target.name)}"
        )
        on = f"projects/{target.project}/locations/{target.location}/clusters/{target.name}"
        try:
            answer = self._http.get(Api.CONTAINER, path, permission="container.clusters.get", on=on, role=ROLE)
        except NotFound as error:
            text = f"no GKE cluster {target.name} in {target.location} of project {target.project} ({target.how})"
            raise NotFound(text, "name it with --project, --location and --cluster-name") from error
        return cluster_of(answer.body, answer.host, target.project).pools

    def clusters(self, project: str) -> tuple[ClusterSummary, ...]:
        """All clusters of PROJECT with the addresses of their API servers. Raises as `pools` does."""
        path, on = f"projects/{segment(project)}/locations/-/clusters", f"projects/{project}"
        answer = self._http.get(Api.CONTAINER, path, permission="container.clusters.list", on=on, role=ROLE)
        document = _decode(answer.body, _Clusters, answer.host)
        return tuple(_summary(cluster, project) for cluster in document.clusters or ())

    def everything(self, project: str) -> tuple[tuple[ClusterDocument, ...], tuple[str, ...]]:
        """All clusters of PROJECT with their pools, and the zones that GKE could not reach. Raises as `pools` does."""
        path, on = f"projects/{segment(project)}/locations/-/clusters", f"projects/{project}"
        answer = self._http.get(Api.CONTAINER, path, permission="container.clusters.list", on=on, role=ROLE)
        document = _decode(answer.body, _Clusters, answer.host)
        found = tuple(_document(cluster, project) for cluster in document.clusters or ())
        return found, tuple(document.missing_zones or ())


def cluster_of(document: bytes | dict[str, Any], source: str, project: str = "") -> ClusterDocument:
    """A cluster in GKE's REST JSON; SOURCE names it in errors, PROJECT stands in for a missing selfLink.

    Raises BadAnswer.
    """
    return _document(_decode(document, _Cluster, source), project)


def _document(cluster: _Cluster, project: str) -> ClusterDocument:
    summary = _summary(cluster, project)
    defaults = cluster.node_pool_defaults and cluster.node_pool_defaults.node_config_defaults
    streaming = defaults.gcfs_config if defaults else None
    shared = cluster.resource_labels or {}
    return ClusterDocument(summary, tuple(_pool(p, summary, streaming, shared) for p in cluster.node_pools or ()))


def disk_image_ref(spelling: str, project: str) -> DiskImageRef:
    """The disk image that GKE means by SPELLING; PROJECT (the cluster's) is meant where it names none.

    `X`, `global/images/X`, `projects/P/global/images/X` and full URLs. A text that is none of these is kept as the
    name: no such disk image can exist, and so Compute's client says MISSING of it.
    """
    match = _SPELLING.fullmatch(spelling.strip().strip("/"))
    if match is None:
        return DiskImageRef(project, spelling)
    return DiskImageRef(match["project"] or project, match["name"])


def arch_of_machine(machine_type: str) -> str:
    """`arm64` or `amd64` by the machine type's family; empty for an empty type."""
    if not machine_type:
        return ""
    return "arm64" if machine_type.partition("-")[0] in _ARM_FAMILIES else "amd64"


def _pool(pool: _NodePool, cluster: ClusterSummary, default_streaming: _Enabled | None, shared: dict[str, str]) -> Pool:
    config = pool.config or _Config()
    # An empty gcfsConfig is an explicit "off": proto3's JSON leaves false out.
    streaming = config.gcfs_config or default_streaming
    return Pool(
        name=pool.name,
        disks=tuple(
            SecondaryDisk(disk_image_ref(disk.disk_image, cluster.project), _mode(disk.mode))
            for disk in config.secondary_boot_disks or ()
            if disk.disk_image
        ),
        location=cluster.location,
        status=pool.status or "",
        version=pool.version or "",
        image_type=config.image_type or "",
        machine_type=config.machine_type or "",
        image_streaming=bool(streaming and streaming.enabled),
        arch=arch_of_machine(config.machine_type or ""),
        autoprovisioned=bool(pool.autoscaling and pool.autoscaling.autoprovisioned),
        cluster=f"projects/{cluster.project}/locations/{cluster.location}/clusters/{cluster.name}",
        node_labels=frozenset((config.labels or {}).items()),
        resource_labels=frozenset({**shared, **(config.resource_labels or {})}.items()),
        node_taints=frozenset(
            Taint(taint.key or "", taint.value or "", TAINT_EFFECTS.get(taint.effect or "", ""))
            for taint in config.taints or ()
        ),
    )


def _mode(mode: str | None) -> DiskMode:
    # Only this one word makes a cache; no word, and any other, is a data disk.
    return DiskMode.CACHE if mode == DiskMode.CACHE.value else DiskMode.DATA


def _summary(cluster: _Cluster, project: str) -> ClusterSummary:
    from_link = re.search(r"/projects/([^/]+)/", cluster.self_link or "")
    private = cluster.private_cluster_config or _PrivateCluster()
    plane = cluster.control_plane_endpoints_config or _ControlPlane()
    addresses = plane.ip_endpoints_config or _PrivateCluster()
    dns = plane.dns_endpoint_config or _DnsEndpoint()
    endpoints = (
        cluster.endpoint,
        private.public_endpoint,
        private.private_endpoint,
        addresses.public_endpoint,
        addresses.private_endpoint,
        dns.endpoint,
    )
    return ClusterSummary(
        project=from_link[1] if from_link else project,
        location=cluster.location or cluster.zone or "",
        name=cluster.name,
        endpoints=frozenset(_host(endpoint) for endpoint in endpoints if endpoint),
    )


def _host(endpoint: str) -> str:
    return (split(endpoint if "//" in endpoint else f"//{endpoint}").hostname or endpoint).lower()


def _decode(document: bytes | dict[str, Any], kind: type[_T], source: str) -> _T:
    try:
        if isinstance(document, bytes):
            return msgspec.json.decode(document, type=kind)
        return msgspec.convert(document, kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadAnswer(f"{source} gives something that is not a GKE cluster: {error}") from error
