"""Small builders of domain data for tests."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone

from kubectl_imagecache.core.contents import CachedImage, Contents, ImageFacts, Layer
from kubectl_imagecache.core.demand import Demand, ImageUse
from kubectl_imagecache.core.pools import (
    DiskImage,
    DiskImageRef,
    DiskMode,
    DiskState,
    NodeFacts,
    Pool,
    SecondaryDisk,
)
from kubectl_imagecache.core.references import parse

NOW = datetime(2026, 1, 15, 9, 0, tzinfo=timezone.utc)
DISK = DiskImageRef("p", "cache-1")
MIB = 1024 * 1024


def digest(seed: str) -> str:
    return "sha256:" + hashlib.sha256(seed.encode()).hexdigest()


def cached(ref: str, seed: str | None = None, size: int | None = None, layers: str = "") -> CachedImage:
    """LAYERS: one letter a layer, 10 MiB compressed and 20 MiB unpacked each."""
    return CachedImage(parse(ref), digest(seed or ref), frozenset(), size, layer_list(layers), "linux/amd64")


def layer_list(letters: str) -> tuple[Layer, ...]:
    return tuple(Layer(digest(f"layer {letter}"), 10 * MIB, 20 * MIB) for letter in letters)


def facts(*digests: str, layers: str = "") -> ImageFacts:
    return ImageFacts(frozenset(digests), layer_list(layers), "linux/amd64")


def use(ref: str, seed: str | None = None, *, pulled: bool = True, nodes: int = 1, pods: int = 1) -> ImageUse:
    return ImageUse(parse(ref), digest(seed or ref) if pulled else "", pods, nodes, nodes if pulled else 0)


def demand(*uses: ImageUse) -> Demand:
    return Demand("pool", uses)


def contents(*images: CachedImage, complete: bool = True) -> Contents:
    return Contents(images, NOW, "kubectl-imagecache 0.1.0", complete=complete)


def pool(
    *,
    mode: DiskMode | None = DiskMode.CACHE,
    disk: DiskImageRef = DISK,
    version: str = "1.31.2-gke.1354000",
    image_type: str = "COS_CONTAINERD",
    streaming: bool | None = True,
    arch: str = "amd64",
) -> Pool:
    disks = (SecondaryDisk(disk, mode),) if mode else ()
    return Pool("pool", disks, "europe-west4", "RUNNING", version, image_type, "g2-standard-8", streaming, arch)


def disk_image(
    state: DiskState = DiskState.READY,
    *,
    held: Contents | None = None,
    created: datetime = NOW,
    ref: DiskImageRef = DISK,
    arch: str = "",
    family: str = "",
    replacement: str = "",
) -> DiskImage:
    return DiskImage(ref, state, "1", created, 100, None, arch, family, replacement=replacement, contents=held)


def node(
    name: str = "n1", *, disk: DiskImageRef | None = DISK, created: datetime = NOW, arch: str = "amd64"
) -> NodeFacts:
    return NodeFacts(name, "pool", created, arch, True, True, (disk,) if disk else ())
