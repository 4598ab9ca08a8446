"""The cache disk's metadata files, written and read: `images.metadata`, `snapshots.metadata`, `imagecache.sums`."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kubectl_imagecache.builder.failures import MISMATCH, BuildFailed, printable
from kubectl_imagecache.builder.images import ResolvedImage

IMAGES = "images.metadata"
SNAPSHOTS = "snapshots.metadata"
RECORD = "imagecache.json"
SUMS = "imagecache.sums"
"""Ours alone: `<chain ID> <tree SHA-256>` a line; the layout's own MD5 sees no name, mode, owner, link or attribute."""
_SNAPSHOT = re.compile(r"(sha256:[0-9a-f]{64}) (snapshots/[0-9]{1,9}/fs)(?: ([0-9a-f]{32}))?")
_SUM = re.compile(r"(sha256:[0-9a-f]{64}) ([0-9a-f]{64})")
_ROW_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_MANAGED = "io.cri-containerd.image=managed"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_MAX_FILE = 64 * 1024 * 1024
Complain = Callable[[str], None]
"""Hears of a problem, a line each."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One line of `snapshots.metadata`."""

    chain_id: str
    path: str
    """`snapshots/<N>/fs`, relative to the disk's root."""
    md5: str
    """Empty if the disk was built without checksums."""


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One row of `images.metadata`."""

    reference: str
    media_type: str
    digest: str
    size: str
    platforms: str
    labels: str


def images_metadata(images: Iterable[ResolvedImage]) -> str:
    """The table of `ctr -n k8s.io images ls` for IMAGES: under their references, and under their config digests."""
    rows: dict[str, list[str]] = {}
    for image in images:
        row = [
            image.media_type,
            image.image.digest,
            _size(image.size),
            ",".join(image.platforms),
            _MANAGED,
        ]
        rows[str(image.image.reference)] = row
        rows[image.config] = row
    table = [["REF", "TYPE", "DIGEST", "SIZE", "PLATFORMS", "LABELS"]]
    table += [[reference, *rows[reference]] for reference in sorted(rows)]
    widths = [max(len(cells[column]) for cells in table) + 1 for column in range(6)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + "\n" for cells in table
    )


def snapshots_metadata(snapshots: Iterable[Snapshot]) -> str:
    """A line for each layer, sorted by chain ID."""
    ordered = sorted(snapshots, key=lambda snapshot: snapshot.chain_id)
    return "".join(f"{s.chain_id} {s.path} {s.md5}".rstrip() + "\n" for s in ordered)


def sums(trees: Mapping[str, str]) -> str:
    """The text of `imagecache.sums` for TREES, chain ID -> tree SHA-256."""
    return "".join(f"{chain_id} {trees[chain_id]}\n" for chain_id in sorted(trees))


def write(root: str, files: Mapping[str, str]) -> None:
    """Write FILES (name -> text) at the disk's ROOT, each whole or not at all; flushing is left to `disk.writable`."""
    for name, text in files.items():
        path = Path(root, name)
        draft = path.with_name(f".{name}.new")
        draft.write_text(text, encoding="utf-8")
        draft.chmod(0o644)
        draft.rename(path)


def refuse(problem: str) -> None:
    """Raise BuildFailed(MISMATCH); the readers below call it for a problem unless they are given something milder."""
    raise BuildFailed(MISMATCH, problem)


def read_snapshots(root: str, complain: Complain = refuse) -> list[Snapshot]:
    """The lines of `snapshots.metadata` that make sense; COMPLAIN hears what is missing, empty or damaged."""
    found = []
    for line in _lines(root, SNAPSHOTS, complain):
        match = _SNAPSHOT.fullmatch(line)
        if match is None:
            complain(f"{SNAPSHOTS} has a damaged line: {printable(line, limit=100)}")
        else:
            found.append(Snapshot(match[1], match[2], match[3] or ""))
    for column, what in (("chain_id", "layer"), ("path", "folder")):
        for name, count in Counter(str(getattr(s, column)) for s in found).items():
            if count > 1:
                complain(f"{SNAPSHOTS} names the {what} {name} {count} times")
    return found


def read_images(root: str, complain: Complain = refuse) -> list[ImageRow]:
    """The rows of `images.metadata` that make sense; COMPLAIN hears what is missing, empty or damaged."""
    head, *lines = _lines(root, IMAGES, complain) or [""]
    if not head:
        return []
    if head.split() != ["REF", "TYPE", "DIGEST", "SIZE", "PLATFORMS", "LABELS"]:
        complain(f"{IMAGES} does not begin with the columns of `ctr images ls`")
    if not lines:
        complain(f"{IMAGES} names no image")
    rows = []
    for line in lines:
        cells = line.split()
        if len(cells) < 7 or not _ROW_DIGEST.fullmatch(cells[2]):
            complain(f"{IMAGES} has a damaged line: {printable(line, limit=100)}")
        else:
            rows.append(ImageRow(cells[0], cells[1], cells[2], f"{cells[3]} {cells[4]}", cells[5], " ".join(cells[6:])))
    return rows


def read_sums(root: str, complain: Complain = refuse) -> dict[str, str] | None:
    """The tree hashes of a disk of ours; None if it has none (Google's builder writes none)."""
    if not Path(root, SUMS).exists():
        return None
    found = {}
    for line in _lines(root, SUMS, complain):
        match = _SUM.fullmatch(line)
        if match is None:
            complain(f"{SUMS} has a damaged line: {printable(line, limit=100)}")
        else:
            found[match[1]] = match[2]
    return found


def _lines(root: str, name: str, complain: Complain) -> list[str]:
    path = Path(root, name)
    try:
        # A disk from elsewhere could hold a link or a device under this name.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        complain(f"{name} can't be read: {error.strerror}")
        return []
    if len(data) > _MAX_FILE:
        complain(f"{name} has more than {_MAX_FILE} bytes")
        return []
    try:
        lines = [line for line in data.decode().split("\n") if line.strip()]
    except UnicodeDecodeError:
        complain(f"{name} is not text")
        return []
    if not lines:
        complain(f"{name} is empty")
    return lines


def _size(count: int) -> str:
    """As containerd's progress.Bytes writes it: `29.8 MiB`."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}"
