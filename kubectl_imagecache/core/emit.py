"""What `roll --emit` puts into words: a pool as it is, or will be, once a roll has replaced it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.roll_pool import PREFIX, scaling_of

CACHE = "CONTAINER_IMAGE_CACHE"
EFFECTS = {"NO_SCHEDULE": "NoSchedule", "PREFER_NO_SCHEDULE": "PreferNoSchedule", "NO_EXECUTE": "NoExecute"}
"""Taints' effects: GKE's words to Kubernetes'."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """A pool that takes another's place."""

    project: str
    location: str
    cluster: str
    old: str
    """The name of the pool that is replaced."""
    pool: Mapping[str, Any]
    """The new pool in GKE's JSON."""
    disk: DiskImageRef
    """What its cache disk is made from."""
    exists: bool
    """Whether the roll has made it already."""

    @property
    def name(self) -> str:
        """The new pool's name."""
        return str(self.pool.get("name") or "")

    @property
    def config(self) -> Mapping[str, Any]:
        """The new pool's node config."""
        found = self.pool.get("config")
        return found if isinstance(found, Mapping) else {}

    @property
    def labels(self) -> dict[str, str]:
        """Its resource labels without those by which a roll finds its way."""
        found = self.config.get("resourceLabels") or {}
        return {key: str(value) for key, value in found.items() if not key.startswith(PREFIX)}

    @property
    def disks(self) -> tuple[tuple[str, str], ...]:
        """Its secondary boot disks: disk image, mode (empty: none is set), the cache last."""
        others = [disk for disk in self.config.get("secondaryBootDisks") or () if disk.get("mode") != CACHE]
        plain = [(str(disk.get("diskImage") or ""), str(disk.get("mode") or "")) for disk in others]
        return (*plain, (str(self.disk), CACHE))

    @property
    def count(self) -> int:
        """Nodes a zone to begin with."""
        return int(self.pool.get("initialNodeCount") or 0)

    @property
    def autoscaled(self) -> bool:
        """Whether its size is the autoscaler's business."""
        return scaling_of(self.pool).enabled
