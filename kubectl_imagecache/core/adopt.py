"""Writing a contents record to a disk image that has none: what is changed, and what of its owner's is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kubectl_imagecache.core import record
from kubectl_imagecache.core.contents import CachedImage, Contents, UnreadableRecord
from kubectl_imagecache.core.errors import BadUsage

_RECORD_LINE = re.compile(r"^imagecache(?:-url)?:.*\n?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Described:
    """What a disk image says of itself, as it is now."""

    image_id: str
    description: str
    labels: Mapping[str, str]
    label_fingerprint: str


@dataclass(frozen=True, slots=True)
class Adoption:
    """The changes; None of something is no change of it."""

    description: str | None
    labels: Mapping[str, str] | None
    left_out: tuple[CachedImage, ...] = ()
    """Images that find no room in the description, the smallest."""

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to change."""
        return self.description is None and self.labels is None


def adoption(found: Described, contents: Contents, arch: str, *, rewrite: bool) -> Adoption:
    """What makes FOUND say that it holds CONTENTS; its owner's words and labels stay.

    Without REWRITE a record that can be read, now or by a newer version, is left as it is. Raises BadUsage if the words
    leave no room for it.
    """
    # Not imagecache-build: that label says who may be asked to remove the disk image.
    wanted = {"imagecache-schema": str(record.SCHEMA)} | ({"imagecache-arch": arch} if arch else {})
    wanted |= {"imagecache-plan": contents.plan[:40]} if contents.plan else {}
    labels = dict(found.labels) | wanted
    present = record.unpack(found.description)
    theirs = isinstance(present, UnreadableRecord) and present.newer
    packed = record.Packed(found.description)
    if not theirs and (rewrite or not isinstance(present, Contents | record.RecordLink)):
        packed = described(found.description, contents, arch)
    return Adoption(
        packed.description if packed.description != found.description else None,
        labels if labels != dict(found.labels) else None,
        packed.left_out,
    )


def described(description: str, contents: Contents, arch: str) -> record.Packed:
    """DESCRIPTION with the record of CONTENTS in place of any other; raises BadUsage if there is no room for it."""
    words = _RECORD_LINE.sub("", description).rstrip("\n")
    if not words:
        count = len(contents.images)
        words = f"{count} container {'image' if count == 1 else 'images'} for GKE nodes{f' ({arch})' if arch else ''}."
    try:
        packed = record.pack(contents, "", record.DESCRIPTION_LIMIT - len(words.encode()))
    except BadUsage as error:
        size = len(words.encode())
        raise BadUsage(
            f"the disk image's own description of {size} bytes leaves no room for a record", "shorten it"
        ) from error
    return record.Packed(words + packed.description, packed.left_out)
