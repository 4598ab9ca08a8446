"""What the sandbox's kubelets ask about container images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kubectl_imagecache.core.contents import Layer


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """A container image as a node sees it after a pull."""

    digest: str
    """What `imageID` shows: the index digest of a multi-platform image, else the manifest's."""
    layers: tuple[Layer, ...]
    """From the base up; an unknown compressed size counts as nothing to fetch."""
    names: tuple[str, ...] = ()
    """As `node.status.images` lists them: `repo@sha256:…`, `repo:tag`; empty: made from the reference."""

    @property
    def compressed(self) -> int:
        """Bytes of all layers in the registry."""
        return sum(layer.compressed or 0 for layer in self.layers)


class ImageSource(Protocol):
    """The registry's side: references to images."""

    def resolve(self, ref: str, arch: str) -> ImageInfo | None:
        """The image that REF means on ARCH (`amd64`, `arm64`) now; None if there is none."""
        ...
