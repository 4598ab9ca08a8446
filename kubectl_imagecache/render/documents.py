"""The documents of `-o json` (apiVersion imagecache/v1): reports as plain dictionaries; schemas/ describes them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from kubectl_imagecache.core.contents import CachedImage, Contents, Layer
from kubectl_imagecache.core.pools import DiskImage, DiskImageRef, Pool
from kubectl_imagecache.core.reasons import Level, Reason
from kubectl_imagecache.core.references import ImageRef
from kubectl_imagecache.core.report import ColdStart, Coverage, PoolStatus, Share, StatusReport, Suggestion, UseMatch
from kubectl_imagecache.render.difference import Change
from kubectl_imagecache.render.names import Namer, namer, refs_of
from kubectl_imagecache.render.words import words

API_VERSION = "imagecache/v1"

Document = dict[str, Any]


def status_document(report: StatusReport) -> Document:
    """The document of `status`, kind StatusReport."""
    name = namer(refs_of(report.pools))
    return _head(report, "StatusReport") | {
        "pools": [_pool(status, name) for status in report.pools],
        "gaps": _gaps(report),
    }


def list_document(report: StatusReport, images: Iterable[tuple[PoolStatus, CachedImage]]) -> Document:
    """The document of `list`, kind CachedImageList."""
    return _head(report, "CachedImageList") | {
        "items": [_listed(status, image) for status, image in images],
        "unknown": [status.pool.name for status in report.pools if status.pool.cache_disks and status.contents is None],
        "gaps": _gaps(report),
    }


def diff_document(report: StatusReport, changes: Iterable[Change], layers: bool) -> Document:
    """The document of `diff`, kind CacheDiff; with LAYERS each item lists its image's layers."""
    return _head(report, "CacheDiff") | {
        "items": [_change(change, layers) for change in changes],
        "unknown": [status.pool.name for status in report.pools if status.pool.cache_disks and status.contents is None],
        "gaps": _gaps(report),
    }


def time(moment: datetime | None) -> str | None:
    """MOMENT as Kubernetes writes it: `2026-01-15T09:00:00Z`."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def _head(report: StatusReport, kind: str) -> Document:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "cluster": report.cluster,
        "context": report.context,
        "source": report.source,
        "observedAt": time(report.observed_at),
    }


def _gaps(report: StatusReport) -> list[Document]:
    return [{"what": gap.what, "why": gap.why, "hint": gap.hint} for gap in report.gaps]


def _pool(status: PoolStatus, name: Namer) -> Document:
    return _pool_facts(status.pool) | {
        "state": status.verdict.state.value,
        "nodes": status.nodes,
        "reasons": [_reason(reason, name) for reason in status.verdict.reasons],
        "diskImage": disk_image_document(status.disk_image),
        "contents": contents_document(status.contents),
        "coverage": _coverage(status.coverage),
        "coldStart": _cold_start(status.cold_start),
        "uses": [_use(match) for match in status.uses],
        "unused": [cached_document(image) for image in status.unused],
        "suggestion": _suggestion(status.suggestion),
    }


def _pool_facts(pool: Pool) -> Document:
    return {
        "name": pool.name,
        "knownFrom": pool.known_from,
        "location": pool.location,
        "status": pool.status,
        "version": pool.version,
        "imageType": pool.image_type,
        "machineType": pool.machine_type,
        "arch": pool.arch,
        "imageStreaming": pool.image_streaming,
        "autoprovisioned": pool.autoprovisioned,
        "disks": [{"image": str(disk.image), "mode": disk.mode.value} for disk in pool.disks],
    }


def disk_image_document(image: DiskImage | None) -> Document | None:
    """A disk image; None of none."""
    if image is None:
        return None
    return {
        "image": str(image.ref),
        "state": image.state.value,
        "id": image.id,
        "createdAt": time(image.created),
        "sizeGb": image.size_gb,
        "archiveBytes": image.archive_bytes,
        "arch": image.arch,
        "family": image.family,
        "replacement": image.replacement,
    }


def contents_document(contents: Contents | None) -> Document | None:
    """What a record says of itself; None of none."""
    if contents is None:
        return None
    return {
        "images": len(contents.images),
        "builtAt": time(contents.built),
        "builder": contents.builder,
        "plan": contents.plan,
        "complete": contents.complete,
    }


def _share(share: Share) -> Document:
    return {"part": share.part, "whole": share.whole, "ratio": share.ratio}


def _coverage(coverage: Coverage | None) -> Document | None:
    if coverage is None:
        return None
    return {
        "images": _share(coverage.images),
        "bytes": _share(coverage.bytes),
        "pulls": _share(coverage.pulls),
        "unknownSizes": coverage.unknown_sizes,
    }


def _cold_start(cold: ColdStart | None) -> Document | None:
    if cold is None:
        return None
    return {
        "seconds": round(cold.seconds, 3),
        "basis": cold.basis.value,
        "rateBytesPerSecond": round(cold.rate, 3),
        "unknownSizes": cold.unknown_sizes,
    }


def _use(match: UseMatch) -> Document:
    use = match.use
    return {
        "image": str(use.ref),
        "digest": use.digest,
        "match": match.match.value,
        "pods": use.pods,
        "waiting": use.waiting,
        "nodes": use.nodes,
        "pulls": use.pulls,
        "templates": use.templates,
        "compressedBytes": match.compressed,
        "cachedBytes": match.bytes_cached,
        "layers": match.layers,
        "layersCached": match.layers_cached,
    }


def cached_document(image: CachedImage) -> Document:
    """A container image on a disk."""
    return {
        "image": str(image.ref),
        "digest": image.digest,
        "otherDigests": sorted(image.other_digests),
        "compressedBytes": image.compressed,
        "platform": image.platform,
    }


def _listed(status: PoolStatus, image: CachedImage) -> Document:
    users = [match.use for match in status.uses if match.cached == image and match.match.value == "cached"]
    return (
        {"pool": status.pool.name}
        | cached_document(image)
        | {
            "pods": sum(use.pods for use in users),
            "nodes": max((use.nodes for use in users), default=0),
        }
    )


def _change(change: Change, layers: bool) -> Document:
    match = change.match
    document: Document = {
        "pool": change.pool,
        "change": change.kind.value,
        "image": str(change.ref),
        "from": change.old,
        "to": change.new,
        "compressedBytes": change.compressed,
        "missingBytes": change.missing,
        "layers": match.layers if match else None,
        "layersCached": match.layers_cached if match else None,
        "pods": match.use.pods if match else 0,
        "nodes": match.use.nodes if match else 0,
    }
    if layers:
        cached = match.cached_chain_ids if match else frozenset()
        document["layerList"] = [_layer(layer, cached) for layer in (match.layer_list if match else ())]
    return document


def _layer(layer: Layer, cached: frozenset[str]) -> Document:
    return {"chainId": layer.chain_id, "cached": layer.chain_id in cached, "compressedBytes": layer.compressed}


def _reason(reason: Reason, name: Namer) -> Document:
    document: Document = {
        "code": reason.code,
        "effect": "NOTE" if reason.level is Level.NOTE else reason.level.name,
        "message": words(reason, name).sentence,
    }
    for field in dataclasses.fields(reason):
        document[_camel(field.name)] = _plain(getattr(reason, field.name))
    return document


def _camel(name: str) -> str:
    name = {"ref": "image", "compressed": "compressed_bytes", "bytes_cached": "cached_bytes"}.get(name, name)
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def _plain(value: object) -> Any:
    match value:
        case ImageRef() | DiskImageRef():
            return str(value)
        case Enum():
            return value.value
        case datetime():
            return time(value)
        case tuple():
            return [_plain(item) for item in value]
        case _:
            return value


def _suggestion(suggestion: Suggestion | None) -> Document | None:
    if suggestion is None:
        return None
    return {
        "command": ["kubectl", "imagecache", *suggestion.argv] if suggestion.argv else [],
        "advice": suggestion.advice,
        "adds": [str(ref) for ref in suggestion.adds],
        "drops": [str(ref) for ref in suggestion.drops],
        "keeps": suggestion.keeps,
        "diskSizeGb": suggestion.disk_size_gb,
        "diskSizeIsMost": suggestion.disk_size_is_most,
    }
