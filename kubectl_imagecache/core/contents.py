"""What a disk image holds: container images, with their digests and layers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from kubectl_imagecache.core.references import ImageRef

DIGEST_PREFIX_HEX = 32
"""Hex digits kept of a digest in the compact record: 128 bits (docs/contents-record.md)."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a container image, by its chain ID (OCI image spec, config.md)."""

    chain_id: str
    """`sha256:…`; two images that share a chain ID share the unpacked layer."""
    compressed: int | None = None
    """Bytes of the blob in the registry; None is unknown."""
    unpacked: int | None = None
    """Bytes of the layer's files on the disk; None is unknown."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a registry (or a full record) says about one platform's image."""

    digests: frozenset[str]
    """Every digest that means this image: index, platform manifest, config."""
    layers: tuple[Layer, ...]
    """From the base up."""
    platform: str = ""
    """`linux/amd64`; empty is unknown."""

    @property
    def compressed(self) -> int | None:
        """Bytes to pull when nothing is there; None if a layer's size is unknown."""
        return add_known(layer.compressed for layer in self.layers)


@dataclass(frozen=True, slots=True)
class CachedImage:
    """One container image on a disk image."""

    ref: ImageRef
    """As the builder was asked for it; without its digest, unless it has no tag."""
    digest: str
    """What the reference resolved to (the index digest of a multi-platform image): a full digest, or the
    128-bit prefix of the compact record (`sha256:` and 32 hex digits)."""
    other_digests: frozenset[str] = frozenset()
    """More full digests that mean this image: platform manifest, config."""
    compressed: int | None = None
    """Bytes in the registry; None is unknown."""
    layers: tuple[Layer, ...] = ()
    """Empty is unknown."""
    platform: str = ""
    """`linux/amd64`; empty is unknown."""

    def holds(self, digests: Iterable[str]) -> bool:
        """Whether one of DIGESTS (full ones) means this image."""
        return any(self.digest in (d, short_digest(d)) or d in self.other_digests for d in digests)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a disk image holds; where it is unknown there is None instead, never an empty Contents."""

    images: tuple[CachedImage, ...]
    built: datetime | None = None
    """When the disk image was built, UTC."""
    builder: str = ""
    """By what: a program and its version."""
    plan: str = ""
    """Hash of the plan it was built from; empty if none."""
    complete: bool = True
    """False if the record says that it leaves images out (they did not fit in the description)."""


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """Why a disk image's contents record can't be used."""

    why: str
    """One clause: `written by a newer version (schema 3)`."""
    newer: bool = False
    """Whether a newer version of this program could read it."""


def short_digest(digest: str) -> str:
    """The 128-bit prefix of a digest, as the compact record has it."""
    algorithm, _, hexes = digest.partition(":")
    return f"{algorithm}:{hexes[:DIGEST_PREFIX_HEX]}"


def add_known(sizes: Iterable[int | None]) -> int | None:
    """The sum of SIZES in bytes, or None as soon as one is unknown."""
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total
