"""Image names and IDs as the cluster writes them, each text read once."""

from __future__ import annotations

from dataclasses import dataclass, field

from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.references import ImageRef, digest_of_image_id, parse
from kubectl_imagecache.core.views import Gap

_MOST_KEPT = 200_000
"""Texts remembered at most, so that a hostile cluster can't fill the memory."""
_LONGEST_KEPT = 1024


@dataclass(slots=True)
class Images:
    """A cache of parsed references and digests, and a count of the texts that are neither."""

    refs: dict[str, ImageRef | None] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    refused: int = 0
    """How often an image name could not be parsed."""
    first_refusal: str = ""
    """The reason of the first one."""

    def ref(self, text: str) -> ImageRef | None:
        """TEXT as a normalised reference; None (and counted) if it isn't one."""
        if text in self.refs:
            ref = self.refs[text]
        else:
            ref = self._parse(text)
            if len(self.refs) < _MOST_KEPT and len(text) <= _LONGEST_KEPT:
                self.refs[text] = ref
        if ref is None:
            self.refused += 1
        return ref

    def digest(self, image_id: str) -> str:
        """The digest in a pod status' imageID; empty if there is none."""
        digest = self.digests.get(image_id)
        if digest is None:
            digest = digest_of_image_id(image_id) if len(image_id) <= _LONGEST_KEPT else ""
            if len(self.digests) < _MOST_KEPT and len(image_id) <= _LONGEST_KEPT:
                self.digests[image_id] = digest
        return digest

    def gaps(self, where: str) -> list[Gap]:
        """What could not be read of the images WHERE they were named."""
        if not self.refused:
            return []
        plural = "s" if self.refused > 1 else ""
        return [Gap(f"{self.refused} image name{plural} of {where}", self.first_refusal)]

    def _parse(self, text: str) -> ImageRef | None:
        try:
            return parse(text)
        except BadUsage as error:
            self.first_refusal = self.first_refusal or error.message[:300]
            return None
