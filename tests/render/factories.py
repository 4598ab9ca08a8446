"""Small makers of report data, with plausible defaults."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from typing import Any

from kubectl_imagecache.core import reasons as why
from kubectl_imagecache.core.contents import CachedImage, Contents, Layer
from kubectl_imagecache.core.demand import ImageUse
from kubectl_imagecache.core.pools import DiskImage, DiskImageRef, DiskMode, DiskState, Pool, SecondaryDisk
from kubectl_imagecache.core.reasons import Reason
from kubectl_imagecache.core.references import ImageRef, parse
from kubectl_imagecache.core.report import (
    Basis,
    ColdStart,
    Coverage,
    Match,
    PoolStatus,
    Share,
    State,
    StatusReport,
    Suggestion,
    UseMatch,
    Verdict,
)
from kubectl_imagecache.core.views import Gap

NOW = datetime(2026, 1, 15, 9, 0, 0, tzinfo=timezone.utc)
GIB = 1024**3
VLLM = "us-docker.pkg.dev/acme-ml/serving/vllm-server:0.6.3"
VLLM_OLD = "us-docker.pkg.dev/acme-ml/serving/vllm-server:0.6.2"
TRITON = "us-docker.pkg.dev/acme-ml/serving/triton:24.08"
PROXY = "envoyproxy/envoy:v1.31"


def digest(text: str) -> str:
    """A real SHA-256 of TEXT."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def ref(text: str = VLLM) -> ImageRef:
    return parse(text)


def disk_ref(name: str = "gpu-cache-2026-01") -> DiskImageRef:
    return DiskImageRef("acme-ml", name)


def cached(text: str, size: int | None = 2 * GIB, **more: Any) -> CachedImage:
    return CachedImage(parse(text), digest(text), compressed=size, platform="linux/amd64", **more)


def use(text: str, pods: int = 4, nodes: int = 2, **more: Any) -> ImageUse:
    return ImageUse(parse(text), digest(text), pods=pods, nodes=nodes, pulls=nodes, **more)


def layer(text: str, size: int | None = GIB) -> Layer:
    return Layer(digest(text), size)


def pool(name: str, **more: Any) -> Pool:
    facts: dict[str, Any] = {
        "disks": (SecondaryDisk(disk_ref(), DiskMode.CACHE),),
        "location": "europe-west4",
        "status": "RUNNING",
        "version": "1.31.2-gke.1354000",
        "image_type": "COS_CONTAINERD",
        "machine_type": "a2-highgpu-1g",
        "image_streaming": True,
        "arch": "amd64",
    }
    return Pool(name, **(facts | more))


def disk_image(**more: Any) -> DiskImage:
    facts: dict[str, Any] = {
        "ref": disk_ref(),
        "state": DiskState.READY,
        "id": "1234567890",
        "created": NOW - timedelta(days=12),
        "size_gb": 40,
        "archive_bytes": 11 * GIB,
        "arch": "amd64",
        "family": "gpu-cache",
    }
    return DiskImage(**(facts | more))


def reason_of_each_kind() -> tuple[Reason, ...]:
    """One of every type that Reason names, in its order."""
    disk = disk_ref()
    return (
        why.ImageMissing(ref(TRITON), 6 * GIB, 2, 3),
        why.TagMoved(ref(VLLM), digest("old"), digest("new"), None, 1, 1),
        why.NewTag(ref(VLLM), ("0.6.1", "0.6.2"), 8 * GIB, 4, 12),
        why.PartlyCached(ref(VLLM), 12, 15, 6 * GIB, 8 * GIB),
        why.Unused(ref(PROXY), 50_000_000),
        why.DiskImageUnusable(disk, DiskState.MISSING),
        why.DiskImageDeprecated(disk, "projects/acme-ml/global/images/gpu-cache-2026-02"),
        why.DiskImageRecreated(disk, NOW, 3, 4),
        why.NewerInFamily(disk, disk_ref("gpu-cache-2026-02"), "gpu-cache"),
        why.NotACache(disk),
        why.ImageStreamingOff(),
        why.VersionTooOld("1.27.3-gke.100", "1.28.3-gke.1067000"),
        why.NodeImageUnsupported("WINDOWS_LTSC_CONTAINERD"),
        why.NodesWithoutDisk(disk, 1, 4),
        why.WrongArchitecture(disk, "arm64", "amd64"),
        why.NameTooLong(disk, 39),
        why.NoRecord(disk),
        why.RecordUnreadable(disk, "written by a newer version (schema 3)"),
        why.RecordIncomplete(disk),
        why.DiskImageNotRead(disk),
        why.DemandUnknown(),
        why.ManagedByTool("Terraform", "goog-terraform-provisioned=true", "gpu-a100", "terraform"),
    )


def fresh(name: str = "web") -> PoolStatus:
    image = cached(PROXY, 60_000_000)
    return PoolStatus(
        pool(name),
        3,
        Verdict(State.FRESH, (why.Unused(ref(TRITON), 6 * GIB),)),
        disk_image(),
        Contents((image, cached(TRITON, 6 * GIB)), NOW - timedelta(days=12), "kubectl-imagecache 0.1.0"),
        (UseMatch(use(PROXY, 9, 3), Match.CACHED, image, 60_000_000, bytes_cached=60_000_000),),
        (cached(TRITON, 6 * GIB),),
        Coverage(Share(1, 1), Share(60_000_000, 60_000_000), Share(3, 3)),
    )


def stale(name: str = "gpu-a100") -> PoolStatus:
    old, proxy = cached(VLLM_OLD, 8 * GIB), cached(PROXY, 60_000_000)
    new_tag = why.NewTag(ref(VLLM), ("0.6.2",), 8 * GIB, 4, 12)
    missing = why.ImageMissing(ref(TRITON), 6 * GIB, 2, 3)
    layers = (layer("base", 5 * GIB), layer("cuda", GIB), layer("app", 2 * GIB))
    chains = frozenset(item.chain_id for item in layers[:2])
    return PoolStatus(
        pool(name),
        4,
        Verdict(State.STALE, (new_tag, missing, why.PartlyCached(ref(VLLM), 2, 3, 6 * GIB, 8 * GIB))),
        disk_image(),
        Contents((old, proxy, cached("python:3.12", 50_000_000)), NOW - timedelta(days=12), "kubectl-imagecache 0.1.0"),
        (
            UseMatch(use(VLLM, 12, 4), Match.PARTLY, old, 8 * GIB, 2, 3, 6 * GIB, layers, chains, new_tag),
            UseMatch(use(TRITON, 3, 2), Match.MISSING, None, 6 * GIB, reason=missing),
            UseMatch(use(PROXY, 15, 4), Match.CACHED, proxy, 60_000_000, bytes_cached=60_000_000),
        ),
        (cached("python:3.12", 50_000_000),),
        Coverage(Share(1, 3), Share(6 * GIB + 60_000_000, 14 * GIB + 60_000_000), Share(4, 10)),
        ColdStart(147.6, Basis.ESTIMATED, 2_000_000_000 / 55),
        Suggestion(("rebuild", name), "", (ref(VLLM), ref(TRITON)), (ref(VLLM_OLD), ref("python:3.12")), 1, 40),
    )


def unknown(name: str = "batch") -> PoolStatus:
    image = disk_ref("google-built")
    return PoolStatus(
        pool(name, disks=(SecondaryDisk(image, DiskMode.CACHE),)),
        2,
        Verdict(State.UNKNOWN, (why.NoRecord(image),)),
        disk_image(ref=image),
        uses=(UseMatch(use(TRITON), Match.UNKNOWN, None, None),),
        cold_start=None,
        suggestion=Suggestion(("inspect", str(image), "--adopt"), "reads once what the disk image holds"),
    )


def broken(name: str = "spot-l4") -> PoolStatus:
    image = disk_ref("gone")
    return PoolStatus(
        pool(name, disks=(SecondaryDisk(image, DiskMode.CACHE),), image_streaming=False),
        0,
        Verdict(State.BROKEN, (why.ImageStreamingOff(), why.DiskImageUnusable(image, DiskState.MISSING))),
        disk_image(ref=image, state=DiskState.MISSING, created=None, id="", size_gb=None, archive_bytes=None),
        suggestion=Suggestion(
            (), f"gcloud container node-pools update {name} --cluster CLUSTER --enable-image-streaming"
        ),
    )


def without_disk(name: str = "default-pool") -> PoolStatus:
    return PoolStatus(pool(name, disks=()), 3, Verdict(State.NONE))


def report(*pools: PoolStatus, gaps: tuple[Gap, ...] = ()) -> StatusReport:
    return StatusReport(
        "projects/acme-ml/locations/europe-west4/clusters/prod",
        "gke_acme-ml_europe-west4_prod",
        NOW,
        pools or (stale(), broken(), fresh(), unknown(), without_disk()),
        gaps,
    )
