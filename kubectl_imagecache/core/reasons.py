"""Why a cache is as its verdict says: one frozen class for each fixed word of the README's table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import ClassVar

from kubectl_imagecache.core.pools import DiskImageRef, DiskState
from kubectl_imagecache.core.references import ImageRef


class Level(IntEnum):
    """What a reason does to the verdict; the highest one decides."""

    NOTE = 0
    """Worth knowing; changes nothing."""
    STALE = 1
    UNKNOWN = 2
    BROKEN = 3


@dataclass(frozen=True, slots=True)
class ImageMissing:
    """A used image of which the disk holds no version."""

    code: ClassVar[str] = "image-missing"
    level: ClassVar[Level] = Level.STALE
    ref: ImageRef
    compressed: int | None
    """Bytes to pull; None is unknown."""
    nodes: int
    pods: int


@dataclass(frozen=True, slots=True)
class TagMoved:
    """The disk holds this tag, but the tag has meant another digest since."""

    code: ClassVar[str] = "tag-moved"
    level: ClassVar[Level] = Level.STALE
    ref: ImageRef
    old: str
    """Digest on the disk, perhaps only its first 128 bits."""
    new: str
    """Digest that runs."""
    compressed: int | None
    nodes: int
    pods: int


@dataclass(frozen=True, slots=True)
class NewTag:
    """The disk holds the same repository under other tags or digests only."""

    code: ClassVar[str] = "new-tag"
    level: ClassVar[Level] = Level.STALE
    ref: ImageRef
    cached: tuple[str, ...]
    """Tags (or digests, where untagged) on the disk."""
    compressed: int | None
    nodes: int
    pods: int


@dataclass(frozen=True, slots=True)
class PartlyCached:
    """Some layers of a missing image are on the disk all the same; GKE uses them."""

    code: ClassVar[str] = "partly-cached"
    level: ClassVar[Level] = Level.NOTE
    ref: ImageRef
    layers_cached: int
    layers: int
    bytes_cached: int | None
    """Compressed; None if a layer's size is unknown."""
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Unused:
    """The disk holds an image that nothing in this pool uses."""

    code: ClassVar[str] = "unused"
    level: ClassVar[Level] = Level.NOTE
    ref: ImageRef
    compressed: int | None


@dataclass(frozen=True, slots=True)
class DiskImageUnusable:
    """The disk image can't be cloned: missing, deleted, failed, not finished, or obsolete."""

    code: ClassVar[str] = "disk-image-unusable"
    level: ClassVar[Level] = Level.BROKEN
    disk_image: DiskImageRef
    state: DiskState


@dataclass(frozen=True, slots=True)
class DiskImageDeprecated:
    """The disk image's owner has marked it deprecated."""

    code: ClassVar[str] = "disk-image-deprecated"
    level: ClassVar[Level] = Level.STALE
    disk_image: DiskImageRef
    replacement: str
    """Empty if none is named."""


@dataclass(frozen=True, slots=True)
class DiskImageRecreated:
    """Nodes are older than the disk image: their disks were cloned from an earlier one of the same name."""

    code: ClassVar[str] = "disk-image-recreated"
    level: ClassVar[Level] = Level.STALE
    disk_image: DiskImageRef
    created: datetime
    older_nodes: int
    nodes: int


@dataclass(frozen=True, slots=True)
class NewerInFamily:
    """The disk image's family has a newer one."""

    code: ClassVar[str] = "newer-in-family"
    level: ClassVar[Level] = Level.STALE
    disk_image: DiskImageRef
    newest: DiskImageRef
    family: str


@dataclass(frozen=True, slots=True)
class NotACache:
    """The disk's mode is not CONTAINER_IMAGE_CACHE: GKE mounts it as data and caches nothing."""

    code: ClassVar[str] = "not-a-cache"
    level: ClassVar[Level] = Level.BROKEN
    disk_image: DiskImageRef


@dataclass(frozen=True, slots=True)
class ImageStreamingOff:
    """Cache disks need image streaming, and the pool has it off."""

    code: ClassVar[str] = "image-streaming-off"
    level: ClassVar[Level] = Level.BROKEN


@dataclass(frozen=True, slots=True)
class VersionTooOld:
    """The pool's GKE version has no cache disks for its node image."""

    code: ClassVar[str] = "version-too-old"
    level: ClassVar[Level] = Level.BROKEN
    version: str
    needed: str


@dataclass(frozen=True, slots=True)
class NodeImageUnsupported:
    """The pool's node image knows no cache disks at all."""

    code: ClassVar[str] = "node-image-unsupported"
    level: ClassVar[Level] = Level.BROKEN
    image_type: str


@dataclass(frozen=True, slots=True)
class NodesWithoutDisk:
    """Some nodes of the pool don't carry the disk's label."""

    code: ClassVar[str] = "nodes-without-disk"
    disk_image: DiskImageRef
    without: int
    nodes: int

    @property
    def level(self) -> Level:
        """STALE; BROKEN if no node has it"""
        return Level.BROKEN if self.without == self.nodes else Level.STALE


@dataclass(frozen=True, slots=True)
class WrongArchitecture:
    """The disk image (or the images on it) is for another CPU architecture than the nodes."""

    code: ClassVar[str] = "wrong-architecture"
    level: ClassVar[Level] = Level.BROKEN
    disk_image: DiskImageRef
    disk_arch: str
    node_arch: str


@dataclass(frozen=True, slots=True)
class NameTooLong:
    """The disk image's name doesn't fit in the node label, so nodes can't show that they have it."""

    code: ClassVar[str] = "name-too-long"
    level: ClassVar[Level] = Level.NOTE
    disk_image: DiskImageRef
    limit: int
    """Characters."""


@dataclass(frozen=True, slots=True)
class NoRecord:
    """Nothing on the disk image says what it holds (as Google's builder leaves it)."""

    code: ClassVar[str] = "no-record"
    level: ClassVar[Level] = Level.UNKNOWN
    disk_image: DiskImageRef


@dataclass(frozen=True, slots=True)
class RecordUnreadable:
    """The record can't be used."""

    code: ClassVar[str] = "record-unreadable"
    level: ClassVar[Level] = Level.UNKNOWN
    disk_image: DiskImageRef
    why: str
    newer: bool = False
    """Whether a newer version of this program could read it."""


@dataclass(frozen=True, slots=True)
class RecordIncomplete:
    """The record says that it leaves out images."""

    code: ClassVar[str] = "record-incomplete"
    level: ClassVar[Level] = Level.NOTE
    disk_image: DiskImageRef


@dataclass(frozen=True, slots=True)
class DiskImageNotRead:
    """Compute could not be asked about the disk image."""

    code: ClassVar[str] = "disk-image-not-read"
    level: ClassVar[Level] = Level.UNKNOWN
    disk_image: DiskImageRef


@dataclass(frozen=True, slots=True)
class DemandUnknown:
    """Pods could not be read, so nothing can be compared."""

    code: ClassVar[str] = "demand-unknown"
    level: ClassVar[Level] = Level.UNKNOWN


@dataclass(frozen=True, slots=True)
class ManagedByTool:
    """Labels say that an infrastructure-as-code tool keeps the pool: its next apply may undo a roll."""

    code: ClassVar[str] = "infrastructure-as-code"
    level: ClassVar[Level] = Level.NOTE
    tool: str
    """`Terraform`, `Pulumi`, …"""
    label: str
    """`KEY=VALUE`."""
    pool: str
    emit: str
    """The format of `roll --emit` that is nearest to the tool's own."""


ImageReason = ImageMissing | TagMoved | NewTag
"""A used image that isn't (wholly) on the disk."""

Reason = (
    ImageMissing
    | TagMoved
    | NewTag
    | PartlyCached
    | Unused
    | DiskImageUnusable
    | DiskImageDeprecated
    | DiskImageRecreated
    | NewerInFamily
    | NotACache
    | ImageStreamingOff
    | VersionTooOld
    | NodeImageUnsupported
    | NodesWithoutDisk
    | WrongArchitecture
    | NameTooLong
    | NoRecord
    | RecordUnreadable
    | RecordIncomplete
    | DiskImageNotRead
    | DemandUnknown
    | ManagedByTool
)
