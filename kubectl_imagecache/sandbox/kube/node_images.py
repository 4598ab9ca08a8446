"""What is on each node's disk, and how long a pull there takes."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from kubectl_imagecache.core.errors import UserError
from kubectl_imagecache.core.references import ImageRef, parse
from kubectl_imagecache.sandbox.kube.images import ImageInfo, ImageSource
from kubectl_imagecache.sandbox.kube.kinds import Obj
from kubectl_imagecache.sandbox.kube.node_cache import NodeCache
from kubectl_imagecache.sandbox.kube.words import minor

BANDWIDTH = 47_000_000.0
"""Compressed bytes a second, pulled and unpacked: a 2 GB image then takes the 43 s that are often told of GKE."""
_FIRST = 1.28
"""How much slower the first pull of an image in the cluster is: nobody near has it yet (55 s to 43 s)."""
_MAX_IMAGES = 50
"""The kubelet's nodeStatusMaxImages."""


@dataclass(frozen=True, slots=True)
class PullPlan:
    """How one pull will go."""

    seconds: float
    """The pull itself."""
    waiting_s: float
    """Queue and pull."""
    method: str
    """`disk`, `streaming` or `registry`."""


@dataclass(slots=True)
class NodeImages:
    """One node's images; changes as it pulls."""

    arch: str
    version: int
    """Minor version of the kubelet."""
    cache: NodeCache
    busy_until: datetime
    """The kubelet pulls one image at a time."""
    names: dict[str, ImageInfo] = field(default_factory=dict)
    """By normalised reference."""
    layers: set[str] = field(default_factory=set)
    pulled: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    """By digest: compressed bytes, names for node.status.images."""

    def keep(self, ref: ImageRef, image: ImageInfo) -> None:
        """IMAGE is on the node now, under REF."""
        self.names[str(ref)] = image
        self.layers.update(layer.chain_id for layer in image.layers)
        _, names = self.pulled.setdefault(image.digest, (image.compressed, []))
        for name in image.names or (f"{ref.name}@{image.digest}", f"{ref.name}:{ref.tag}" if ref.tag else ""):
            if name and name not in names:
                names.append(name)

    def status(self) -> list[Obj]:
        """node.status.images: the greatest first, at most 50."""
        greatest = sorted(self.pulled.values(), key=lambda item: -item[0])[:_MAX_IMAGES]
        return [{"names": names, "sizeBytes": size} for size, names in greatest]


class Pulls:
    """All nodes' images, and the time that pulls take."""

    def __init__(self, source: ImageSource, bandwidth: float, seed: int) -> None:
        self._source = source
        self._bandwidth = bandwidth
        self._random = random.Random(f"pulls-{seed}")
        self._nodes: dict[str, NodeImages] = {}
        self._caches: dict[str, NodeCache] = {}
        self._known: set[tuple[str, bool]] = set()

    def set_cache(self, node: str, cache: NodeCache) -> None:
        """What a node can start images from."""
        self._caches[node] = cache

    def forget(self, node: str) -> None:
        """The node is gone, with its disk."""
        self._nodes.pop(node, None)
        self._caches.pop(node, None)

    def node(self, name: str) -> NodeImages | None:
        """A node's images, if it has been met."""
        return self._nodes.get(name)

    def meet(self, node: Obj, running: Iterable[Obj], now: datetime) -> NodeImages:
        """A node's images; RUNNING are the pods on it, whose images it must have."""
        name = node["metadata"]["name"]
        found = self._nodes.get(name)
        if found is None:
            info = node.get("status", {}).get("nodeInfo") or {}
            labels = node["metadata"].get("labels") or {}
            arch = info.get("architecture") or labels.get("kubernetes.io/arch") or "amd64"
            version = minor(info.get("kubeletVersion", ""))
            found = self._nodes[name] = NodeImages(arch, version, self._caches.get(name, NodeCache()), now)
            for pod in running:
                for status in pod.get("status", {}).get("containerStatuses") or ():
                    ref = reference(status.get("image", ""))
                    image = self.resolve(str(ref), arch) if ref and status.get("imageID") else None
                    if ref and image:
                        found.keep(ref, image)
                        self._known.add((image.digest, found.cache.streaming))
        return found

    def resolve(self, ref: str, arch: str) -> ImageInfo | None:
        """What the registry says."""
        return self._source.resolve(ref, arch)

    def plan(self, node: NodeImages, image: ImageInfo, now: datetime) -> PullPlan:
        """Take the node's queue for a pull of IMAGE that is asked for NOW."""
        absent = [layer for layer in image.layers if layer.chain_id not in node.layers]
        off_disk = [layer for layer in absent if layer.chain_id not in node.cache.chain_ids]
        bytes_left = sum(layer.compressed or 0 for layer in off_disk)
        jitter = self._random.uniform(0.94, 1.06)
        first = (image.digest, node.cache.streaming) not in self._known
        base = self._random.uniform(0.25, 0.45) + 0.004 * len(image.layers)
        if not off_disk:
            method, seconds = "disk" if absent else "registry", base
        elif node.cache.streaming and not first:
            method, seconds = "streaming", base + self._random.uniform(0.0, 0.3)
        else:
            method = "streaming" if node.cache.streaming else "registry"
            seconds = base + bytes_left / self._bandwidth * jitter * (_FIRST if first else 1.0)
        self._known.add((image.digest, node.cache.streaming))
        begins = max(now, node.busy_until)
        node.busy_until = begins + timedelta(seconds=seconds)
        node.layers.update(layer.chain_id for layer in image.layers)
        return PullPlan(seconds, (node.busy_until - now).total_seconds(), method)


def reference(text: str) -> ImageRef | None:
    """TEXT as a normalised reference; None if it is none (the kubelet then says InvalidImageName)."""
    try:
        return parse(text)
    except UserError:
        return None
