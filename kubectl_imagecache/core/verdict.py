"""The verdict on a pool's cache: its state, with every reason that applies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kubectl_imagecache.core.contents import CachedImage, Contents, UnreadableRecord
from kubectl_imagecache.core.coverage import ratio
from kubectl_imagecache.core.iac import tools
from kubectl_imagecache.core.pools import DiskImage, DiskImageRef, DiskMode, DiskState, NodeFacts, Pool, SecondaryDisk
from kubectl_imagecache.core.reasons import (
    DemandUnknown,
    DiskImageDeprecated,
    DiskImageNotRead,
    DiskImageRecreated,
    DiskImageUnusable,
    ImageMissing,
    ImageStreamingOff,
    Level,
    ManagedByTool,
    NameTooLong,
    NewerInFamily,
    NewTag,
    NodeImageUnsupported,
    NodesWithoutDisk,
    NoRecord,
    NotACache,
    PartlyCached,
    Reason,
    RecordIncomplete,
    RecordUnreadable,
    TagMoved,
    Unused,
    VersionTooOld,
    WrongArchitecture,
)
from kubectl_imagecache.core.report import Coverage, Policy, State, UseMatch, Verdict

NAME_LIMIT = 39
"""Characters of a disk image's name that fit in the node label: 63, less `gke-secondary-boot-disk-`.
https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set"""

# https://cloud.google.com/kubernetes-engine/docs/how-to/data-container-image-preloading (the first preview for COS)
_OLDEST = {"COS_CONTAINERD": "1.28.3-gke.1067000", "UBUNTU_CONTAINERD": "1.35.0-gke.1403000"}
_UNUSABLE = (DiskState.MISSING, DiskState.DELETED, DiskState.FAILED, DiskState.PENDING, DiskState.OBSOLETE)
_IMAGE_REASONS = (ImageMissing, TagMoved, NewTag)
_STATES = {Level.BROKEN: State.BROKEN, Level.UNKNOWN: State.UNKNOWN, Level.STALE: State.STALE, Level.NOTE: State.FRESH}


def verdict(
    pool: Pool,
    reasons: Iterable[Reason],
    covered: Coverage | None,
    policy: Policy,
) -> Verdict:
    """Join REASONS: the weightiest decides, images that are missing only below the policy's coverage."""
    ordered = tuple(sorted(reasons, key=lambda reason: -reason.level))
    if not pool.disks:
        return Verdict(State.NONE, ordered)
    enough = covered is not None and ratio(covered) >= policy.min_coverage
    levels = [r.level for r in ordered if not (enough and isinstance(r, _IMAGE_REASONS))]
    return Verdict(_STATES[max(levels, default=Level.NOTE)], ordered)


def pool_reasons(pool: Pool, nodes: Sequence[NodeFacts]) -> Iterator[Reason]:
    """What is wrong with the pool itself, whatever its disk image holds."""
    for disk in pool.disks:
        if disk.mode is not DiskMode.CACHE:
            yield NotACache(disk.image)
    if not pool.cache_disks:
        return
    if pool.image_streaming is False:
        yield ImageStreamingOff()
    if pool.image_type and pool.image_type not in _OLDEST:
        yield NodeImageUnsupported(pool.image_type)
    needed = _OLDEST.get(pool.image_type, "")
    if needed and pool.version and _version(pool.version) < _version(needed):
        yield VersionTooOld(pool.version, needed)
    for disk in pool.cache_disks:
        yield from _node_reasons(disk, nodes)
    for tool in tools(pool.resource_labels):
        yield ManagedByTool(tool.name, tool.label, pool.name, tool.emit)


def disk_reasons(
    disk: SecondaryDisk,
    image: DiskImage | None,
    newest: Mapping[tuple[str, str], DiskImage],
    pool: Pool,
    nodes: Sequence[NodeFacts],
) -> Iterator[Reason]:
    """What is wrong with a cache disk's disk image, IMAGE, and its record; None: Compute could not be asked."""
    if image is None:
        yield DiskImageNotRead(disk.image)
        return
    if image.state in _UNUSABLE:
        yield DiskImageUnusable(disk.image, image.state)
    if image.state is DiskState.DEPRECATED:
        yield DiskImageDeprecated(disk.image, image.replacement)
    newer = newest.get((disk.image.project, image.family)) if image.family else None
    if newer is not None and _is_newer(newer, image):
        yield NewerInFamily(disk.image, newer.ref, image.family)
    if image.created is not None:
        # Kubernetes' times are whole seconds, Compute's are not.
        made = image.created.replace(microsecond=0)
        older = [n for n in nodes if n.created and n.created < made and disk.image in n.cache_disks]
        if older:
            yield DiskImageRecreated(disk.image, image.created, len(older), len(nodes))
    arch = pool.arch or next((n.arch for n in nodes if n.arch), "")
    disk_arch = image.arch or _contents_arch(image)
    if arch and disk_arch and arch != disk_arch:
        yield WrongArchitecture(disk.image, disk_arch, arch)
    yield from _record_reasons(disk.image, image)


def image_reasons(matches: Iterable[UseMatch], unused: Iterable[CachedImage]) -> Iterator[Reason]:
    """What is wrong image by image; PartlyCached comes besides the reason why the image isn't whole."""
    for match in matches:
        if match.reason is None:
            continue
        yield match.reason
        if match.layers_cached:
            yield PartlyCached(
                match.use.ref, match.layers_cached, match.layers or 0, match.bytes_cached, match.compressed
            )
    for image in unused:
        yield Unused(image.ref, image.compressed)


def demand_reasons(pool: Pool, demand_known: bool) -> Iterator[Reason]:
    """Whether there was anything to compare with."""
    if pool.cache_disks and not demand_known:
        yield DemandUnknown()


def _node_reasons(disk: SecondaryDisk, nodes: Sequence[NodeFacts]) -> Iterator[Reason]:
    if len(disk.image.name) > NAME_LIMIT:
        yield NameTooLong(disk.image, NAME_LIMIT)
        return
    if ":" in disk.image.project:
        return  # a domain-scoped project is illegal in a label's value: no node can show it
    without = sum(disk.image not in node.cache_disks for node in nodes)
    if without:
        yield NodesWithoutDisk(disk.image, without, len(nodes))


def _record_reasons(ref: DiskImageRef, image: DiskImage) -> Iterator[Reason]:
    if image.state in (DiskState.MISSING, DiskState.DELETED):
        return
    match image.contents:
        case None:
            yield NoRecord(ref)
        case UnreadableRecord(why, newer):
            yield RecordUnreadable(ref, why, newer)
        case Contents(complete=False):
            yield RecordIncomplete(ref)


def _is_newer(newer: DiskImage, image: DiskImage) -> bool:
    if newer.ref == image.ref:
        return False
    return newer.created is None or image.created is None or newer.created > image.created


def _contents_arch(image: DiskImage) -> str:
    if not isinstance(image.contents, Contents):
        return ""
    archs = {cached.platform.split("/")[1] for cached in image.contents.images if "/" in cached.platform}
    return archs.pop() if len(archs) == 1 else ""


def _version(text: str) -> tuple[int, ...]:
    """`1.30.1-gke.1329000` as (1, 30, 1, 1329000)."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:4])
