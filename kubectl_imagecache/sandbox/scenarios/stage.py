"""How a scenario is set up: disk images and node pools as plain data, made on some past day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kubectl_imagecache.core import record
from kubectl_imagecache.core.contents import Contents
from kubectl_imagecache.sandbox.catalog import Catalog
from kubectl_imagecache.sandbox.cloud import Cloud, Held
from kubectl_imagecache.sandbox.cloud.nodes import RESTRICTED
from kubectl_imagecache.sandbox.http import World
from kubectl_imagecache.sandbox.kube.cluster import KubeCluster

PROJECT = "sandbox-project"
LOCATION = "europe-west4"
VERSION = "1.32.9-gke.1130000"
CACHE = "CONTAINER_IMAGE_CACHE"
BUILDER = "kubectl-imagecache 0.1.0"

_GIB = 1024**3
_ARCHITECTURES = {"amd64": "X86_64", "arm64": "ARM64"}


@dataclass(slots=True)
class Stage:
    """What a scenario fills."""

    world: World
    catalog: Catalog
    kube: KubeCluster
    cloud: Cloud
    cluster: str
    """The GKE cluster's name."""
    end: datetime
    """The present that the scenario leads up to; its clock starts well before."""
    nodes: int = 1000
    """For scenarios of variable size."""
    pods: int = 20_000
    autoscaled: bool = False
    """Whether pools whose autoscaling is on get nodes when pods find none."""


@dataclass(frozen=True, slots=True)
class DiskImageSpec:
    """A disk image to be made."""

    name: str
    images: tuple[str, ...] = ()
    """References of the container images on it, as they resolve when it is made."""
    family: str = ""
    arch: str = "amd64"
    recorded: bool = True
    """False: no contents record, as Google's builder leaves it."""
    description: str | None = None
    """Instead of the record."""
    headroom_gb: int = 6
    """GiB of the disk above what its layers unpack to."""


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """A node pool to be made; its nodes are there at once."""

    name: str
    nodes: int
    disk_image: str = ""
    """Name of the cache disk's image; empty is no secondary disk."""
    mode: str | None = CACHE
    """None leaves it out, as gcloud does without `mode=`."""
    streaming: bool = True
    machine_type: str = "n2-standard-8"
    version: str = VERSION
    image_type: str = "COS_CONTAINERD"
    dedicated: str = ""
    """Value of a `dedicated` taint; empty is no taint."""
    zones: tuple[str, ...] = ("europe-west4-a",)
    """NODES must be a multiple of their number: GKE counts nodes per zone."""
    label_prefix: str = RESTRICTED
    """Of the cache disk's label on the nodes: there are two spellings."""
    unlabelled: int = 0
    """How many of the nodes lack that label."""
    most: int = 0
    """Autoscaling up to so many nodes a zone; 0: none."""


def go_to(stage: Stage, *, days: float = 0, minutes: float = 0) -> None:
    """Let time pass until so long before the scenario's present."""
    moment = stage.end - timedelta(days=days, minutes=minutes)
    stage.world.clock.advance((moment - stage.world.clock.now()).total_seconds())


def add_disk_image(stage: Stage, spec: DiskImageSpec) -> None:
    """Make a disk image now; one of the same name is replaced, with a new id."""
    cached = tuple(stage.catalog.cached(ref, spec.arch) for ref in spec.images)
    layers = {layer.chain_id: layer for image in cached for layer in image.layers}
    now = stage.world.clock.now()
    contents = Contents(cached, now, BUILDER)
    unpacked = sum(layer.unpacked or 0 for layer in layers.values())
    image: dict[str, Any] = {
        "name": spec.name,
        "architecture": _ARCHITECTURES[spec.arch],
        "diskSizeGb": str(unpacked // _GIB + spec.headroom_gb),
        "archiveSizeBytes": str(sum(layer.compressed or 0 for layer in layers.values())),
        "storageLocations": ["eu"],
    }
    if spec.family:
        image["family"] = spec.family
    if spec.description is not None:
        image["description"] = spec.description
    elif spec.recorded:
        images = "container image" if len(cached) == 1 else "container images"
        headline = f"{len(cached)} {images} for GKE nodes ({spec.arch}), built {now:%Y-%m-%d}."
        image["description"] = record.pack(contents, headline).description
        image["labels"] = record.labels(contents, build=f"b-{spec.name}"[:63], arch=spec.arch)
    stage.cloud.add_image(
        image, Held(frozenset(layers), cached, contents if spec.recorded and spec.description is None else None)
    )


def add_pool(stage: Stage, spec: PoolSpec) -> None:
    """Make a node pool and its nodes now."""
    config: dict[str, Any] = {
        "machineType": spec.machine_type,
        "imageType": spec.image_type,
        "diskType": "pd-balanced",
        "diskSizeGb": 100,
        "gcfsConfig": {"enabled": spec.streaming},
    }
    if spec.disk_image:
        disk = {"diskImage": f"projects/{PROJECT}/global/images/{spec.disk_image}"}
        config["secondaryBootDisks"] = [disk | ({"mode": spec.mode} if spec.mode else {})]
    if spec.dedicated:
        config["taints"] = [{"key": "dedicated", "value": spec.dedicated, "effect": "NO_SCHEDULE"}]
    pool = {
        "name": spec.name,
        "initialNodeCount": spec.nodes // len(spec.zones),
        "locations": list(spec.zones),
        "version": spec.version,
        "config": config,
        "autoscaling": {"enabled": True, "maxNodeCount": spec.most} if spec.most else {},
    }
    # Made when GKE still offered its version.
    offered = stage.cloud.state.versions
    stage.cloud.state.versions = [*offered, spec.version]
    stage.cloud.add_pool(stage.cluster, pool, label_prefix=spec.label_prefix, unlabelled=spec.unlabelled)
    stage.cloud.state.versions = offered


def nodes_of(stage: Stage, pool: str) -> list[dict[str, Any]]:
    """The Node objects of a pool, by name."""
    nodes = stage.kube.objects("Node")
    found = [node for node in nodes if node["metadata"]["labels"].get("cloud.google.com/gke-nodepool") == pool]
    return sorted(found, key=lambda node: str(node["metadata"]["name"]))


def deprecate(stage: Stage, name: str, state: str, replacement: str = "") -> None:
    """Mark a disk image DEPRECATED or OBSOLETE, naming another to use instead."""
    image = _disk_image(stage, name)
    image["deprecated"] = {"state": state}
    if replacement:
        image["deprecated"]["replacement"] = _disk_image(stage, replacement)["selfLink"]


def fail(stage: Stage, name: str) -> None:
    """Let a disk image have FAILED."""
    _disk_image(stage, name)["status"] = "FAILED"


def _disk_image(stage: Stage, name: str) -> dict[str, Any]:
    image = stage.cloud.state.find(f"projects/{PROJECT}/global/images/{name}")
    if image is None:
        raise KeyError(name)
    return image
