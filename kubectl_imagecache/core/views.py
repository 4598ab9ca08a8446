"""What was observed, before anything is decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kubectl_imagecache.core.demand import Demand, Unplaced
from kubectl_imagecache.core.pools import DiskImage, DiskImageRef, NodeFacts, NodeShape, Pool
from kubectl_imagecache.core.pulls import Pull


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that could not be read, and so is not known."""

    what: str
    """`GKE node pools`, `disk images of project p`, `events`."""
    why: str
    """One line, with the missing permission if that was it."""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class KubeView:
    """What Kubernetes tells, folded: no pod is kept."""

    nodes: tuple[NodeFacts, ...] = ()
    shapes: tuple[NodeShape, ...] = ()
    demands: Mapping[str, Demand] = field(default_factory=dict)
    """By pool name; bound pods only. Nodes without a pool label are left out."""
    unplaced: tuple[Unplaced, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Compressed bytes by digest, and by normalised reference (as str) where a node named only a tag.
    From `node.status.images` and from events."""
    pulls: tuple[Pull, ...] = ()
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class CloudView:
    """What GKE and Compute tell."""

    pools: tuple[Pool, ...] | None = None
    """None: GKE could not be asked."""
    disk_images: Mapping[DiskImageRef, DiskImage] = field(default_factory=dict)
    """Only those that could be asked about; a 404 is here with state MISSING."""
    newest: Mapping[tuple[str, str], DiskImage] = field(default_factory=dict)
    """By (project, family): the newest READY disk image of the family that isn't deprecated."""
    gaps: tuple[Gap, ...] = ()
