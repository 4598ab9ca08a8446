"""The container images that a sandbox's registry serves: manifests and configs that really hash to their digests.

The layers of most images are declared, not made: their sizes, digests and diff IDs are fixed by the seed, and there
are no bytes behind them (a 15 GB model would not be a good thing to have in memory). Layers marked `real` have bytes
that hash to their digests.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubectl_imagecache.core.contents import CachedImage, ImageFacts, Layer
from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.references import ImageRef, parse
from kubectl_imagecache.sandbox.kube.images import ImageInfo

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})

_TYPES = {
    "oci": (
        OCI_INDEX,
        OCI_MANIFEST,
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    ),
    "docker": (
        DOCKER_LIST,
        DOCKER_MANIFEST,
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
}


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """A layer to be published; the same `key` in two images is the same layer."""

    key: str
    """What it is: `cuda-runtime-12.4`."""
    compressed: int = 0
    """Bytes of the blob; ignored if `real`."""
    unpacked: int = 0
    """Bytes of its files; ignored if `real`."""
    real: int | None = None
    """Make a real blob: a tar with one file of this many bytes."""


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """One image to be published under one tag."""

    name: str
    """Registry and repository: `registry.k8s.io/pause`."""
    tag: str
    layers: tuple[LayerSpec, ...]
    """From the base up."""
    archs: tuple[str, ...] = ("amd64",)
    """Architectures; several make an index, one alone a plain manifest."""
    dialect: str = "oci"
    """`oci` or `docker`: the media types."""
    created: str = "2025-12-01T08:00:00Z"
    """In the config; two builds of the same layers differ by it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index as the registry serves it."""

    media_type: str
    body: bytes
    digest: str


@dataclass(frozen=True, slots=True)
class Blob:
    """A config or a layer as the registry knows it."""

    digest: str
    size: int
    """Bytes."""
    data: bytes | None
    """None: declared only, the sandbox has no bytes for it."""


@dataclass(frozen=True, slots=True)
class _Platform:
    manifest: str
    facts: ImageFacts


@dataclass(slots=True)
class _Repository:
    tags: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    blobs: dict[str, Blob] = field(default_factory=dict)
    platforms: dict[str, dict[str, _Platform]] = field(default_factory=dict)
    """Index or manifest digest -> architecture -> image; a plain manifest has one, under its own architecture."""


class Catalog:
    """Images by name; what was published under a digest stays, a tag may move."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._repositories: dict[str, _Repository] = {}
        self._offered: dict[str, list[ImageSpec]] = {}
        self._layers: dict[tuple[str, str], tuple[Blob, str, int]] = {}

    def offer(self, spec: ImageSpec) -> None:
        """Publish an image once its repository is looked at: few of a full catalog's ever are."""
        self._offered.setdefault(spec.name, []).append(spec)

    def publish(self, spec: ImageSpec) -> str:
        """Publish an image, moving its tag if it exists; return the digest that the tag now has."""
        repository = self._repository(spec.name) or self._repositories.setdefault(spec.name, _Repository())
        index_type, manifest_type, _, _ = _TYPES[spec.dialect]
        platforms = {arch: self._publish_platform(repository, spec, arch) for arch in spec.archs}
        if len(platforms) == 1:
            (platform,) = platforms.values()
            digest = platform.manifest
        else:
            entries = [
                {
                    "mediaType": manifest_type,
                    "digest": platform.manifest,
                    "size": len(repository.manifests[platform.manifest].body),
                    "platform": {"architecture": arch, "os": "linux"},
                }
                for arch, platform in platforms.items()
            ]
            digest = _add_manifest(repository, index_type, {"manifests": entries})
            platforms = {
                arch: _Platform(p.manifest, ImageFacts(p.facts.digests | {digest}, p.facts.layers, p.facts.platform))
                for arch, p in platforms.items()
            }
        repository.platforms[digest] = platforms
        repository.tags[spec.tag] = digest
        return digest

    def resolve(self, ref: str, arch: str) -> ImageInfo | None:
        """What a node of architecture ARCH gets for REF; None if there is no such image or platform, or REF is none.

        An image without an index is handed out whatever the architecture, as registries and containerd do.
        """
        try:
            parsed = parse(ref)
        except BadUsage:
            return None
        found = self._find(parsed, arch)
        if found is None:
            return None
        digest, platform = found
        names = (f"{parsed.name}@{digest}",) + ((f"{parsed.name}:{parsed.tag}",) if parsed.tag else ())
        return ImageInfo(digest, platform.facts.layers, names)

    def facts(self, ref: str, arch: str) -> ImageFacts:
        """Digests and layers of REF for ARCH; raise KeyError if it isn't here."""
        found = self._find(parse(ref), arch)
        if found is None:
            raise KeyError(f"{ref} for {arch}")
        return found[1].facts

    def cached(self, ref: str, arch: str) -> CachedImage:
        """REF as a contents record has it; raise KeyError if it isn't here."""
        parsed = parse(ref)
        found = self._find(parsed, arch)
        if found is None:
            raise KeyError(f"{ref} for {arch}")
        digest, facts = found[0], found[1].facts
        bare = ImageRef(parsed.registry, parsed.repository, parsed.tag, "" if parsed.tag else digest)
        return CachedImage(bare, digest, facts.digests - {digest}, facts.compressed, facts.layers, facts.platform)

    def tags(self, name: str) -> Sequence[str] | None:
        """The tags of a repository, sorted; None if there is no such repository."""
        repository = self._repository(name)
        return None if repository is None else sorted(repository.tags)

    def manifest(self, name: str, reference: str) -> Manifest | None:
        """The manifest or index that a tag or digest names."""
        repository = self._repository(name) or _Repository()
        return repository.manifests.get(repository.tags.get(reference, reference))

    def blob(self, name: str, digest: str) -> Blob | None:
        """A config or layer of a repository."""
        return (self._repository(name) or _Repository()).blobs.get(digest)

    def references(self) -> Iterator[tuple[str, str, str]]:
        """Every (name, tag, digest) that can be pulled by tag now, sorted."""
        for name in list(self._offered):
            self._repository(name)
        for name, repository in sorted(self._repositories.items()):
            for tag, digest in sorted(repository.tags.items()):
                yield name, tag, digest

    def _repository(self, name: str) -> _Repository | None:
        for spec in self._offered.pop(name, ()):
            self.publish(spec)
        return self._repositories.get(name)

    def _find(self, ref: ImageRef, arch: str) -> tuple[str, _Platform] | None:
        repository = self._repository(ref.name)
        if repository is None:
            return None
        digest = ref.digest or repository.tags.get(ref.tag, "")
        platforms = repository.platforms.get(digest, {})
        manifest = repository.manifests.get(digest)
        if manifest is not None and manifest.media_type not in INDEX_TYPES:
            return digest, next(iter(platforms.values()))
        return (digest, platforms[arch]) if arch in platforms else None

    def _publish_platform(self, repository: _Repository, spec: ImageSpec, arch: str) -> _Platform:
        _, manifest_type, config_type, layer_type = _TYPES[spec.dialect]
        made = [self._layer(layer, arch) for layer in spec.layers]
        repository.blobs.update((blob.digest, blob) for blob, _, _ in made)
        config = _json(
            {
                "architecture": arch,
                "os": "linux",
                "created": spec.created,
                "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
                "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id, _ in made]},
                "history": [{"created": spec.created, "created_by": f"COPY {layer.key} /"} for layer in spec.layers],
            }
        )
        config_digest = sha256(config)
        repository.blobs[config_digest] = Blob(config_digest, len(config), config)
        manifest = _add_manifest(
            repository,
            manifest_type,
            {
                "config": {"mediaType": config_type, "digest": config_digest, "size": len(config)},
                "layers": [{"mediaType": layer_type, "digest": blob.digest, "size": blob.size} for blob, _, _ in made],
            },
        )
        chains = chain_ids([diff_id for _, diff_id, _ in made])
        layers = tuple(
            Layer(chain, blob.size, unpacked) for chain, (blob, _, unpacked) in zip(chains, made, strict=True)
        )
        platform = _Platform(manifest, ImageFacts(frozenset({manifest, config_digest}), layers, f"linux/{arch}"))
        repository.platforms.setdefault(manifest, {arch: platform})
        return platform

    def _layer(self, spec: LayerSpec, arch: str) -> tuple[Blob, str, int]:
        """Blob, diff ID, unpacked bytes."""
        if (spec.key, arch) not in self._layers:
            about = f"{self._seed}/{spec.key}/{arch}"
            if spec.real is None:
                blob = Blob(sha256(f"{about}/blob".encode()), spec.compressed, None)
                made = blob, sha256(f"{about}/diff".encode()), spec.unpacked
            else:
                tar = _tar(f"opt/{spec.key}", random.Random(about).randbytes(spec.real))
                data = _gzip(tar)
                made = Blob(sha256(data), len(data), data), sha256(tar), spec.real
            self._layers[spec.key, arch] = made
        return self._layers[spec.key, arch]


def sha256(data: bytes) -> str:
    """The digest of DATA, with its algorithm."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The chain IDs of a stack of layers (OCI image spec, config.md, "Layer ChainID")."""
    chains: list[str] = []
    for diff_id in diff_ids:
        chains.append(sha256(f"{chains[-1]} {diff_id}".encode()) if chains else diff_id)
    return chains


def _add_manifest(repository: _Repository, media_type: str, content: Mapping[str, Any]) -> str:
    body = _json({"schemaVersion": 2, "mediaType": media_type, **content})
    digest = sha256(body)
    repository.manifests[digest] = Manifest(media_type, body, digest)
    return digest


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _tar(path: str, content: bytes) -> bytes:
    """A ustar archive of one regular file; by hand, as tarfile would be a fifth of the sandbox's start."""
    fields = (f"{len(content):011o}", f"{0:011o}")
    header = bytearray(
        struct.pack(
            "100s8s8s8s12s12s8sc",
            path.encode(),
            b"0000644",
            b"0000000",
            b"0000000",
            *(f.encode() for f in fields),
            b" " * 8,
            b"0",
        )
    )
    header += bytes(100) + b"ustar\00000" + bytes(512 - len(header) - 108)
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header) + content + bytes(-len(content) % 512 + 1024)


def _gzip(data: bytes) -> bytes:
    """A gzip member of stored blocks: zlib's builds compress differently, and the digest must not depend on them."""
    blocks = [data[at : at + 0xFFFF] for at in range(0, len(data), 0xFFFF)]
    stored = b"".join(
        struct.pack("<BHH", block is blocks[-1], len(block), len(block) ^ 0xFFFF) + block for block in blocks
    )
    trailer = struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + stored + trailer
