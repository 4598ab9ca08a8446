"""Resolves each image of a job to its manifest, config and layers, every digest checked."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kubectl_imagecache.builder.failures import BAD_DIGEST, REGISTRY, WRONG_ARCHITECTURE, BuildFailed, printable
from kubectl_imagecache.builder.job import JobImage
from kubectl_imagecache.builder.registry import MANIFEST_TYPES, Registry

_INDEX_TYPES = MANIFEST_TYPES[:2]
_SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_MAX_DEPTH = 3
_MAX_LAYERS = 500
_MAX_BLOB = 1 << 44


@dataclass(frozen=True, slots=True)
class ImageLayer:
    """One layer of an image, as its manifest and config name it."""

    chain_id: str
    diff_id: str
    blob: str
    """Digest of the compressed blob."""
    media_type: str
    size: int
    """Compressed bytes."""
    repository: str
    host: str
    """Which registry has the blob, by the reference's host."""


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """What the registry says about one image of the job."""

    image: JobImage
    media_type: str
    """Of what the job's digest names: an index or a manifest."""
    manifest: str
    """Digest of the platform's manifest."""
    config: str
    """Digest of the config."""
    platforms: tuple[str, ...]
    """Every platform of the index, sorted."""
    layers: tuple[ImageLayer, ...]
    """From the base up."""
    size: int
    """Bytes in the registry: layers, config, manifest and index, as `ctr images ls` adds them up."""


def chain_ids(diff_ids: list[str]) -> Iterator[str]:
    """The chain IDs of layers with DIFF_IDS, from the base up (OCI image spec, config.md)."""
    parent = ""
    for diff_id in diff_ids:
        parent = f"sha256:{hashlib.sha256(f'{parent} {diff_id}'.encode()).hexdigest()}" if parent else diff_id
        yield parent


def resolve_image(image: JobImage, registry: Registry) -> ResolvedImage:
    """Ask REGISTRY what IMAGE is; raises BuildFailed (REGISTRY, BAD_DIGEST or WRONG_ARCHITECTURE)."""
    repository, name = image.reference.repository, str(image.reference)
    digest, size = image.digest, 0
    platforms: set[str] = set()
    first_type = ""
    for _ in range(_MAX_DEPTH):
        body = registry.manifest(repository, digest)
        document = _object(body.data, name)
        media_type = str(document.get("mediaType") or body.media_type)
        first_type = first_type or media_type
        size += len(body.data)
        if media_type not in _INDEX_TYPES and "manifests" not in document:
            break
        platforms |= {_format(entry.get("platform")) for entry in _list(document, "manifests", name)}
        digest = _choose(document, image)
    else:
        raise BuildFailed(REGISTRY, f"{name}: indexes within indexes, more than {_MAX_DEPTH} deep")
    if media_type in _SCHEMA_1 or document.get("schemaVersion") == 1:
        raise BuildFailed(
            REGISTRY, f"{name}: a manifest of Docker's schema 1", "push the image again with a current tool"
        )
    config_digest = _descriptor(document.get("config"), name)[0]
    config = _object(registry.config(repository, config_digest).data, name)
    _check_platform(config, image)
    layers = tuple(_layers(document, config, image))
    config_size = _descriptor(document["config"], name)[1]
    platforms = platforms or {_format({"os": config.get("os"), "architecture": config.get("architecture")})}
    size += config_size + sum(layer.size for layer in layers)
    return ResolvedImage(image, first_type, digest, config_digest, tuple(sorted(platforms)), layers, size)


def _layers(manifest: dict[str, Any], config: dict[str, Any], image: JobImage) -> Iterator[ImageLayer]:
    name = str(image.reference)
    rootfs = config.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    descriptors = _list(manifest, "layers", name)
    if not isinstance(diff_ids, list) or len(diff_ids) != len(descriptors) or len(diff_ids) > _MAX_LAYERS:
        raise BuildFailed(REGISTRY, f"{name}: its manifest and its config disagree about the number of layers")
    if not all(isinstance(d, str) and _DIGEST.fullmatch(d) for d in diff_ids):
        raise BuildFailed(REGISTRY, f"{name}: its config has a diff ID that is no digest")
    for chain_id, diff_id, descriptor in zip(chain_ids(diff_ids), diff_ids, descriptors, strict=True):
        blob, size = _descriptor(descriptor, name)
        media_type = str(descriptor.get("mediaType") or "")
        if "tar" not in media_type or "encrypted" in media_type:
            raise BuildFailed(
                REGISTRY, f"{name}: a layer of the type {printable(media_type)}, which no node can unpack"
            )
        yield ImageLayer(
            chain_id, diff_id, blob, media_type, size, image.reference.repository, image.reference.registry
        )


def _choose(index: dict[str, Any], image: JobImage) -> str:
    """The digest of the manifest for the image's platform."""
    wanted = _canonical(image.platform)
    entries = _list(index, "manifests", str(image.reference))
    for entry in entries:
        if _canonical(_format(entry.get("platform"))) == wanted:
            return _descriptor(entry, str(image.reference))[0]
    for entry in entries:
        if _canonical(_format(entry.get("platform"))).startswith(wanted + "/"):
            return _descriptor(entry, str(image.reference))[0]
    has = ", ".join(sorted({_format(entry.get("platform")) for entry in entries} - {"unknown/unknown"}))
    raise BuildFailed(
        WRONG_ARCHITECTURE, f"{image.reference} is not there for {image.platform}", f"it has {printable(has) or 'none'}"
    )


def _check_platform(config: dict[str, Any], image: JobImage) -> None:
    """A registry gives a single-platform image whatever is asked for: only the config tells what it is."""
    found = _format({"os": config.get("os"), "architecture": config.get("architecture")})
    if found.split("/")[:2] != image.platform.split("/")[:2]:
        raise BuildFailed(
            WRONG_ARCHITECTURE, f"{image.reference} is for {printable(found)}, the disk is for {image.platform}"
        )


def _format(platform: Any) -> str:
    if not isinstance(platform, dict) or not platform.get("os"):
        return "unknown"
    parts = (str(platform["os"]), str(platform.get("architecture") or ""), str(platform.get("variant") or ""))
    return printable("/".join(part for part in parts if part), limit=60).replace(" ", "")


def _canonical(platform: str) -> str:
    return {"linux/arm64/v8": "linux/arm64", "linux/amd64/v1": "linux/amd64"}.get(platform, platform)


def _object(data: bytes, name: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BuildFailed(REGISTRY, f"{name}: a manifest or config that is not JSON") from error
    if not isinstance(document, dict):
        raise BuildFailed(REGISTRY, f"{name}: a manifest or config that is not an object")
    return document


def _list(document: dict[str, Any], key: str, name: str) -> list[dict[str, Any]]:
    found = document.get(key)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise BuildFailed(REGISTRY, f"{name}: a manifest without a list of {key}")
    return found


def _descriptor(descriptor: Any, name: str) -> tuple[str, int]:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    size = descriptor.get("size") if isinstance(descriptor, dict) else None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise BuildFailed(BAD_DIGEST, f"{name}: a descriptor without a digest")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _MAX_BLOB:
        raise BuildFailed(REGISTRY, f"{name}: a descriptor without a size")
    return digest, size
