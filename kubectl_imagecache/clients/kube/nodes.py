"""Nodes folded into facts, shapes and image sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kubectl_imagecache.clients.kube import wire
from kubectl_imagecache.clients.kube.images import Images
from kubectl_imagecache.core.pools import POOL_LABEL, DiskImageRef, DiskMode, NodeFacts, NodeShape, Taint
from kubectl_imagecache.core.views import Gap

# Both spellings are seen on nodes: docs/facts.md.
DISK_LABELS = (
    "cloud.google.com.node-restriction.kubernetes.io/gke-secondary-boot-disk-",
    "cloud.google.com/gke-secondary-boot-disk-",
)
"""Beginnings of a cache disk's label key; the disk image's name follows."""
_CACHE_VALUE = f"{DiskMode.CACHE.value}."
STREAMING_LABEL = "cloud.google.com/gke-image-streaming"
_OS_LABEL = "cloud.google.com/gke-os-distribution"
_ARCH_LABEL = "kubernetes.io/arch"
_OWN_LABELS = frozenset({"kubernetes.io/hostname", "cloud.google.com/gce-topology-host"})
"""Labels that differ from node to node, so that they say nothing about a group."""


@dataclass(slots=True)
class NodeFold:
    """What is kept of all nodes read so far."""

    images: Images = field(default_factory=Images)
    facts: dict[str, NodeFacts] = field(default_factory=dict)
    """By node name."""
    shapes: dict[NodeShape, None] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes by digest and by normalised reference; the largest where nodes differ."""
    keys: dict[str, str] = field(default_factory=dict)
    """Image name to its key in `sizes`."""
    words: dict[str, str] = field(default_factory=dict)
    """Label keys and values, each kept once."""

    def add(self, node: wire.Node) -> None:
        """Keep what matters of NODE."""
        if node.metadata is None or not node.metadata.name:
            return
        labels = node.metadata.labels or {}
        status = node.status or wire.NodeStatus()
        self.facts[node.metadata.name] = self._facts(node.metadata, labels, status)
        taints = (node.spec.taints if node.spec else None) or ()
        shape = NodeShape(
            self._word(labels.get(POOL_LABEL, "")),
            frozenset((self._word(k), self._word(v)) for k, v in labels.items() if k not in _OWN_LABELS),
            frozenset(Taint(one.key or "", one.value or "", one.effect or "") for one in taints),
        )
        self.shapes[shape] = None
        for image in status.images or ():
            self._size(image)

    def _facts(self, meta: wire.Meta, labels: dict[str, str], status: wire.NodeStatus) -> NodeFacts:
        info = status.node_info or wire.NodeInfo()
        return NodeFacts(
            name=meta.name or "",
            pool=self._word(labels.get(POOL_LABEL, "")),
            created=wire.parse_time(meta.creation_timestamp),
            arch=self._word(labels.get(_ARCH_LABEL) or info.architecture or ""),
            ready=any(one.type == "Ready" and one.status == "True" for one in status.conditions or ()),
            image_streaming=labels.get(STREAMING_LABEL) == "true",
            cache_disks=cache_disks(labels),
            kubelet_version=self._word(info.kubelet_version or ""),
            os=self._word(labels.get(_OS_LABEL, "")),
        )

    def _size(self, image: wire.NodeImage) -> None:
        size = image.size_bytes
        if size is None or size <= 0:
            return
        for name in image.names or ():
            key = self.keys.get(name)
            if key is None:
                key = self._key(name)
            if key and size > self.sizes.get(key, 0):
                self.sizes[key] = size

    def _key(self, name: str) -> str:
        """What NAME's size is filed under: its digest, or the normalised reference; empty for neither."""
        ref = None if "<none>" in name else self.images.ref(name)  # Docker's placeholder for a missing tag.
        key = (ref.digest or str(ref)) if ref is not None else ""
        if len(name) <= 1024 and len(self.keys) < 200_000:  # Bounded, whatever a hostile node says.
            self.keys[name] = key
        return key

    def _word(self, text: str) -> str:
        return self.words.setdefault(text, text)

    def pools(self) -> Mapping[str, str]:
        """Each node's pool, by node name."""
        return {name: facts.pool for name, facts in self.facts.items()}

    def sorted_shapes(self) -> tuple[NodeShape, ...]:
        """The groups of like nodes, in a stable order."""
        return tuple(
            sorted(self.shapes, key=lambda one: (one.pool, sorted(one.labels), repr(sorted(map(repr, one.taints)))))
        )

    def gaps(self) -> list[Gap]:
        """What could not be read."""
        return self.images.gaps("nodes")


def cache_disks(labels: Mapping[str, str]) -> tuple[DiskImageRef, ...]:
    """The disk images that a node's LABELS name as its cache disks, sorted, each once."""
    found = set()
    for key, value in labels.items():
        for prefix in DISK_LABELS:
            if key.startswith(prefix) and value.startswith(_CACHE_VALUE):
                found.add(DiskImageRef(value[len(_CACHE_VALUE) :], key[len(prefix) :]))
    return tuple(sorted(found))
