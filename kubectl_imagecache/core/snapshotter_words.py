"""What GKE's image snapshotter logs about an image's layers."""

from __future__ import annotations

import re

from kubectl_imagecache.core.pull_records import LayersRecord

# `Image R is backed by secondary boot disk caching by 100.0% (27/27 layers), by image streaming by 0.0% (0/27 layers).`
# (docs/facts.md). Each part may be missing.
_IMAGE = re.compile(r"Image [`\"]?(?P<image>[^\s`\"]+)[`\"]? is backed by (?P<parts>.+)", re.ASCII | re.DOTALL)
_PART = r"{way} by [0-9.]{{1,8}}% \((?P<some>[0-9]{{1,6}})/(?P<all>[0-9]{{1,6}}) layers\)"
_DISK = re.compile(_PART.format(way=r"secondary (?:boot )?disk (?:caching|cache)"), re.ASCII | re.I)
_STREAMING = re.compile(_PART.format(way="image streaming"), re.ASCII | re.I)
MAX_LINE = 4096
"""Longest line that is read, characters."""


def parse_layers(message: str, node: str, at: float | None) -> LayersRecord | None:
    """Read one line of the log `gcfs-snapshotter`, from NODE, AT epoch seconds; None if it tells of no layers."""
    found = _IMAGE.search(message[:MAX_LINE])
    if found is None:
        return None
    disk, streaming = _DISK.search(found["parts"]), _STREAMING.search(found["parts"])
    if disk is None and streaming is None:
        return None
    layers = max(int(part["all"]) for part in (disk, streaming) if part)
    by_disk = min(layers, int(disk["some"]) if disk else 0)
    by_streaming = min(layers - by_disk, int(streaming["some"]) if streaming else 0)
    return LayersRecord(found["image"], node, at, layers, by_disk, by_streaming)
