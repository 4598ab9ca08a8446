"""Which disk images of a family nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum

from kubectl_imagecache.core.pools import DiskImage, DiskImageRef, DiskState
from kubectl_imagecache.core.record import RecordLink, own_link
from kubectl_imagecache.core.views import Gap

DEPRECATED_LABEL = "imagecache-deprecated"
"""Label of a disk image that gc has deprecated: when, in seconds since the epoch."""
_RETIRED = (DiskState.DEPRECATED, DiskState.OBSOLETE, DiskState.DELETED)
_BEGINNING = datetime(1970, 1, 1, tzinfo=timezone.utc)


class UserKind(Enum):
    """What may need a disk image."""

    POOL = "node pool"
    CLASS = "ComputeClass"
    TEMPLATE = "instance template"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class DiskImageUse:
    """Something that needs a disk image, or is made of it."""

    image: DiskImageRef
    """With `by_family` the name is a family's."""
    kind: UserKind
    who: str
    """`CLUSTER/POOL`, `CLUSTER/CLASS`, the template's or the disk's name."""
    image_id: str = ""
    """Compute's id of the disk image, where the user knows it: one made again under the name has another."""
    by_family: bool = False


@dataclass(frozen=True, slots=True)
class GcPolicy:
    """What is kept."""

    keep: int = 2
    """The newest of each family that stay; at least 1."""
    grace: timedelta = timedelta(days=7)
    """How long a disk image is deprecated before it is deleted."""
    families: frozenset[str] = frozenset()
    """Empty: those of which this program built every disk image."""


class GcAction(Enum):
    """What becomes of a disk image."""

    KEEP = "keep"
    DEPRECATE = "deprecate"
    RESTORE = "restore"
    """gc had deprecated it, and it is needed again."""
    DELETE = "delete"


class Why(Enum):
    """The reason for it."""

    USED = "used"
    NEWEST = "newest"
    GRACE = "in-grace"
    UNFINISHED = "unfinished"
    UNREAD = "users-unread"
    """Nothing that could be read uses it, but not everything could be read."""
    UNUSED = "unused"
    GRACE_OVER = "grace-over"


@dataclass(frozen=True, slots=True)
class GcDecision:
    """What becomes of one disk image, and why."""

    image: DiskImage
    action: GcAction
    why: Why
    uses: tuple[DiskImageUse, ...] = ()
    until: datetime | None = None
    """End of the grace, if `why` is GRACE."""

    @property
    def record(self) -> RecordLink | None:
        """The record in Cloud Storage that goes with the disk image, if that is deleted and this program built it."""
        if self.action is not GcAction.DELETE or "imagecache-build" not in self.image.labels:
            return None
        return own_link(self.image.ref.name, self.image.description)


def decide_gc(
    images: Iterable[DiskImage],
    uses: Iterable[DiskImageUse],
    gaps: Sequence[Gap],
    policy: GcPolicy,
    now: datetime,
) -> list[GcDecision]:
    """What becomes of each of IMAGES that is in a chosen family, by family, the newest first.

    GAPS are users that could not be read: with any, nothing is deprecated or deleted.
    """
    users = list(uses)
    found: list[GcDecision] = []
    for _, members in sorted(_families(images, policy).items()):
        ordered = sorted(members, key=lambda image: (image.created or _BEGINNING, image.ref.name), reverse=True)
        newest = _newest(ordered, policy.keep)
        following = next((i.ref for i in ordered if i.state is DiskState.READY), None)
        for image in ordered:
            mine = tuple(uses_of(image, users, following))
            found.append(_decided(image, mine, image.ref in newest, bool(gaps), policy.grace, now))
    return found


def uses_of(image: DiskImage, uses: Iterable[DiskImageUse], following: DiskImageRef | None) -> list[DiskImageUse]:
    """Those of USES that mean IMAGE; FOLLOWING is what its family stands for now."""
    return [use for use in uses if _is_of(use, image, following)]


def without_family(images: Iterable[DiskImage]) -> list[DiskImage]:
    """Those that this program built into no family: nothing tells which is newer, so gc leaves them alone."""
    return [image for image in images if not image.family and "imagecache-build" in image.labels]


def _families(images: Iterable[DiskImage], policy: GcPolicy) -> dict[str, list[DiskImage]]:
    found: dict[str, list[DiskImage]] = {}
    for image in images:
        if image.family:
            found.setdefault(image.family, []).append(image)
    if policy.families:
        return {family: found[family] for family in policy.families & found.keys()}
    # A family with strangers in it may be managed by something else: then it must be named.
    return {f: members for f, members in found.items() if all("imagecache-build" in i.labels for i in members)}


def _newest(ordered: Sequence[DiskImage], keep: int) -> frozenset[DiskImageRef]:
    """The newest of all, whatever their state, and the newest that can be used without a warning."""
    keep = max(keep, 1)
    ready = [image for image in ordered if image.state is DiskState.READY]
    return frozenset(image.ref for image in (*ordered[:keep], *ready[:keep]))


def _is_of(use: DiskImageUse, image: DiskImage, following: DiskImageRef | None) -> bool:
    if use.by_family:
        return use.image == DiskImageRef(image.ref.project, image.family) and image.ref == following
    return use.image == image.ref or bool(use.image_id and use.image_id == image.id)


def _decided(
    image: DiskImage, uses: tuple[DiskImageUse, ...], newest: bool, unread: bool, grace: timedelta, now: datetime
) -> GcDecision:
    if image.state is not DiskState.READY and image.state not in _RETIRED:
        return GcDecision(image, GcAction.KEEP, Why.UNFINISHED, uses)
    if uses or newest:
        ours = image.state is DiskState.DEPRECATED and DEPRECATED_LABEL in image.labels
        return GcDecision(image, GcAction.RESTORE if ours else GcAction.KEEP, Why.USED if uses else Why.NEWEST, uses)
    if unread:
        return GcDecision(image, GcAction.KEEP, Why.UNREAD)
    if image.state is DiskState.READY or image.deprecated_at is None:
        # Deprecated by somebody, and nobody knows when: its grace begins now.
        return GcDecision(image, GcAction.DEPRECATE, Why.UNUSED)
    until = image.deprecated_at + grace
    if now < until:
        return GcDecision(image, GcAction.KEEP, Why.GRACE, until=until)
    return GcDecision(image, GcAction.DELETE, Why.GRACE_OVER)


def replacements(decisions: Iterable[GcDecision]) -> Mapping[str, DiskImageRef]:
    """By family: the disk image to use instead of a deprecated one."""
    found: dict[str, DiskImageRef] = {}
    for decision in decisions:  # the newest first
        if decision.image.state is DiskState.READY and decision.action is GcAction.KEEP:
            found.setdefault(decision.image.family, decision.image.ref)
    return found
