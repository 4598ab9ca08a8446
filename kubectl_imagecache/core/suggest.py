"""The one thing to do about a pool's cache."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from kubectl_imagecache.core.compare import Known, layers_of
from kubectl_imagecache.core.contents import CachedImage, Layer
from kubectl_imagecache.core.pools import Pool
from kubectl_imagecache.core.reasons import (
    DiskImageDeprecated,
    DiskImageRecreated,
    DiskImageUnusable,
    ImageMissing,
    ImageStreamingOff,
    NewerInFamily,
    NewTag,
    NodeImageUnsupported,
    NodesWithoutDisk,
    NoRecord,
    NotACache,
    RecordUnreadable,
    TagMoved,
    VersionTooOld,
    WrongArchitecture,
)
from kubectl_imagecache.core.report import Match, State, Suggestion, UseMatch, Verdict

UNPACKED_PER_COMPRESSED = 2.25
"""Unpacked bytes for each compressed one where only the latter is known: measured over three images
(610 MB, 1374 MB unpacked)."""
EXT4_OVERHEAD = 1.05
"""Inode tables and journal, for a file system made without reserved blocks."""
HEADROOM = 1.10
MIN_DISK_GB = 10
"""The smallest persistent disk, GiB. https://cloud.google.com/compute/docs/disks#disk-types"""


def suggest(
    pool: Pool, verdict: Verdict, matches: Sequence[UseMatch], unused: Sequence[CachedImage], known: Known
) -> Suggestion | None:
    """What mends POOL; None for a pool that needs nothing.

    First what stands in the way of everything else, then the disk's contents, then a newer disk image.
    """
    if verdict.state in (State.NONE, State.FRESH):
        return None
    advice = _pool_advice(pool, verdict)
    if advice:
        return Suggestion((), advice)
    for reason in verdict.reasons:
        if isinstance(reason, RecordUnreadable) and reason.newer:
            return Suggestion((), "update this program: a newer version wrote the record")
        if isinstance(reason, NoRecord | RecordUnreadable):
            return Suggestion(("inspect", str(reason.disk_image), "--adopt"), "reads once what the disk image holds")
    stale_images = any(isinstance(r, ImageMissing | TagMoved | NewTag) for r in verdict.reasons)
    if stale_images or any(isinstance(r, DiskImageUnusable | WrongArchitecture) for r in verdict.reasons):
        return _rebuild(pool, matches, unused, known)
    for reason in verdict.reasons:
        if isinstance(reason, NewerInFamily):
            return Suggestion(("roll", pool.name, "--disk-image", str(reason.newest)))
    for reason in verdict.reasons:
        if isinstance(reason, DiskImageDeprecated):
            if reason.replacement:
                return Suggestion(("roll", pool.name, "--disk-image", reason.replacement))
            return _rebuild(pool, matches, unused, known)
        if isinstance(reason, DiskImageRecreated | NodesWithoutDisk):
            return Suggestion(("roll", pool.name, "--disk-image", str(reason.disk_image)), "replaces the nodes")
    return None


def disk_size_gb(layers: Iterable[Layer], unsized: Iterable[int]) -> int:
    """GiB of a disk for LAYERS (each chain ID once) and for images of which only the compressed bytes are known."""
    once = {layer.chain_id: layer for layer in layers}
    unpacked = sum(
        layer.unpacked if layer.unpacked is not None else (layer.compressed or 0) * UNPACKED_PER_COMPRESSED
        for layer in once.values()
    )
    unpacked += sum(unsized) * UNPACKED_PER_COMPRESSED
    return max(MIN_DISK_GB, math.ceil(unpacked * EXT4_OVERHEAD * HEADROOM / 2**30))


def _pool_advice(pool: Pool, verdict: Verdict) -> str:
    for reason in verdict.reasons:
        match reason:
            case NotACache(disk_image):
                return (
                    f"make the pool again with --secondary-boot-disk=disk-image={disk_image},mode=CONTAINER_IMAGE_CACHE"
                )
            case ImageStreamingOff():
                return f"gcloud container node-pools update {pool.name} {_where(pool)} --enable-image-streaming"
            case VersionTooOld(needed=needed):
                return f"upgrade the pool to {needed} or newer"
            case NodeImageUnsupported():
                return "make the pool again with the node image COS_CONTAINERD"
            case _:
                continue
    return ""


def _where(pool: Pool) -> str:
    """gcloud's flags for the pool's cluster."""
    if not pool.cluster:
        return "--cluster=CLUSTER --location=LOCATION"
    _, project, _, location, _, cluster = pool.cluster.split("/")
    return f"--cluster={cluster} --location={location} --project={project}"


def _rebuild(pool: Pool, matches: Sequence[UseMatch], unused: Sequence[CachedImage], known: Known) -> Suggestion:
    counted = [match for match in matches if match.match is not Match.IGNORED]
    adds = tuple(sorted({m.use.ref for m in counted if m.match is not Match.CACHED}))
    replaced = {m.cached for m in counted if m.match in (Match.MISSING, Match.PARTLY) and m.cached is not None}
    used = {m.cached for m in counted if m.match is Match.CACHED}
    drops = sorted({i.ref for i in (*unused, *(replaced - used)) if i is not None and i.ref not in adds})
    size, is_most = _size(counted, known)
    return Suggestion(
        ("rebuild", pool.name),
        adds=adds,
        drops=tuple(drops),
        keeps=len({m.use.ref for m in counted if m.match is Match.CACHED}),
        disk_size_gb=size,
        disk_size_is_most=is_most,
    )


def _size(counted: Sequence[UseMatch], known: Known) -> tuple[int | None, bool]:
    """GiB, None if unknown; and whether layers may have been counted twice."""
    layers: list[Layer] = []
    unsized: dict[str, int] = {}
    for match in counted:
        found = match.layer_list or (layers_of(match.cached, known) if match.cached and not match.reason else ())
        if found:
            layers.extend(found)
        elif match.compressed is not None:
            unsized[match.use.digest or str(match.use.ref)] = match.compressed
        else:
            return None, False
    size = disk_size_gb(layers, unsized.values()) if counted else None
    return size, bool(unsized) and size != MIN_DISK_GB
