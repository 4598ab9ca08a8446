"""What was found on a cache disk by reading it, on whatever machine that was."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kubectl_imagecache.core.contents import Contents

_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50}
_SIZE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?([KMGTP]?i?B)")


@dataclass(frozen=True, slots=True)
class ListedImage:
    """One row of `images.metadata`, the table of `ctr images ls`."""

    reference: str
    """As it stands there; `sha256:…` for the row that containerd's CRI plugin adds under the config digest."""
    digest: str
    size: str
    """`29.8 MiB`: compressed, for one platform."""
    platforms: str
    """`linux/amd64,linux/arm64`: of the whole index, whatever was unpacked."""

    @property
    def bytes(self) -> int | None:
        """SIZE in bytes, as exact as three digits are; None if it is no size."""
        match = _SIZE.fullmatch(self.size)
        return round(float(match[1]) * _UNITS[match[2]]) if match and match[2] in _UNITS else None


@dataclass(frozen=True, slots=True)
class SurveyedLayer:
    """One layer's folder."""

    chain_id: str
    folder: str
    """`snapshots/<N>/fs`."""
    unpacked: int
    """Bytes of its files, each hard-linked one once."""
    stored: int
    """Bytes that it takes on the disk."""
    files: int
    """Entries of every kind."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything that a reading has found."""

    images: tuple[ListedImage, ...] = ()
    layers: tuple[SurveyedLayer, ...] = ()
    """By chain ID."""
    record: Contents | None = None
    """`imagecache.json`; None if the disk has none, as Google's builder leaves it, or a damaged one."""
    findings: tuple[str, ...] = ()
    """What is wrong with the disk, a line each."""
    notes: tuple[str, ...] = ()
    """What isn't wrong and should be known."""
    contents: bool = False
    """Whether the files were read and compared with their checksums."""
    checked: int = 0
    """Layers that had checksums to compare with."""
    partition: bool = False
    """Whether the file system is on the first partition and not on the whole disk."""
    bytes: int = 0
    """Of the file system; 0 if there is none."""
    used: int = 0
    """Of these bytes."""
