"""What to put on a new disk image, and where and how to build it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from kubectl_imagecache.core.choose import Candidate, choose, sizes_of
from kubectl_imagecache.core.contents import CachedImage, Contents, ImageFacts, Layer, add_known
from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.prices import Prices
from kubectl_imagecache.core.references import ImageRef
from kubectl_imagecache.core.suggest import EXT4_OVERHEAD, HEADROOM, MIN_DISK_GB, UNPACKED_PER_COMPRESSED
from kubectl_imagecache.core.verdict import NAME_LIMIT

HASH_LENGTH = 40
"""Hex digits of a plan's hash: a label's value holds 63 characters, a whole SHA-256 has 64."""
_NAME = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
# https://cloud.google.com/storage/docs/buckets#naming; of folders only what needs no quoting anywhere.
_FOLDER = re.compile(r"gs://[a-z0-9][a-z0-9._-]{0,221}(?:/[A-Za-z0-9._=-]{1,200}){0,4}/?", re.ASCII)
_GIB = 2**30


class Change(Enum):
    """What becomes of an image, beside the disk that the pool has now."""

    NEW = "new"
    KEPT = "kept"
    MOVED = "moved"
    """The disk holds this tag with another digest."""
    DROPPED = "dropped"
    """On the disk now, used by nobody or not wanted."""
    LEFT_OUT = "left out"
    """Wanted, but the disk would be too large."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image that should be on the disk, its reference pinned."""

    ref: ImageRef
    """As pods name it."""
    digest: str
    """What the registry says the reference means now."""
    facts: ImageFacts
    cold_starts: int = 1
    """Nodes that run it: the weight of its bytes."""


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """An image that will be on the disk."""

    ref: ImageRef
    digest: str
    change: Change
    """NEW, KEPT or MOVED."""
    was: str = ""
    """The digest on the present disk, if MOVED; perhaps only its first 128 bits."""
    cold_starts: int = 1
    layers: tuple[Layer, ...] = ()
    other_digests: frozenset[str] = frozenset()
    """More digests that mean this image: platform manifest, config."""

    @property
    def compressed(self) -> int | None:
        """Bytes in the registry; None is unknown."""
        return add_known(layer.compressed for layer in self.layers)


@dataclass(frozen=True, slots=True)
class AbsentImage:
    """An image that won't be on the disk."""

    ref: ImageRef
    digest: str
    change: Change
    """DROPPED or LEFT_OUT."""
    compressed: int | None = None
    why: str = ""
    """One clause."""


@dataclass(frozen=True, slots=True)
class RegistryLogin:
    """How the VM authenticates to one registry, and where it is; never a secret itself."""

    host: str
    auth: str = "none"
    """`none`, `google` (the VM's service account) or `secret` (`source` names a Secret Manager version)."""
    source: str = ""
    """`projects/P/secrets/S/versions/V`."""
    endpoint: str = ""
    """A mirror's URL; empty is the registry itself."""


@dataclass(frozen=True, slots=True)
class Vm:
    """Where and on what the disk is built."""

    project: str
    zone: str
    machine_type: str = "e2-standard-4"
    disk_type: str = "pd-ssd"
    """Of the cache disk; the boot disk is a pd-balanced of 10 GiB."""
    boot_image: str = ""
    """Empty is the newest of the Debian 12 family for the plan's architecture."""
    network: str = "default"
    """A name or `projects/HOST/global/networks/N`."""
    subnet: str = ""
    """A name or `projects/HOST/regions/R/subnetworks/S`; empty is the network's own of the region."""
    service_account: str = ""
    """Empty is the project's default one, and none at all if no registry needs it."""
    external_ip: bool = False
    spot: bool = False
    tags: tuple[str, ...] = ()
    """Network tags."""
    kms_key: str = ""
    """`projects/P/locations/L/keyRings/R/cryptoKeys/K` for the disks and the disk image."""
    timeout_s: int = 3600
    """After so long Compute deletes the VM and its disks, whatever becomes of the client."""

    @property
    def region(self) -> str:
        """Of the zone."""
        return self.zone.rpartition("-")[0]


@dataclass(frozen=True, slots=True)
class Output:
    """The disk image that is to be."""

    ref: DiskImageRef
    family: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    """The user's own."""
    storage_location: str = ""
    """A region or multi-region; empty lets Compute choose."""
    contents_url: str = ""
    """Folder for a contents record that finds no room in the description, `gs://BUCKET[/FOLDER]`; empty if none."""


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """Everything that decides a build."""

    images: tuple[PlannedImage, ...]
    """In order of benefit."""
    absent: tuple[AbsentImage, ...]
    arch: str
    disk_size_gb: int
    output: Output
    vm: Vm
    pool: str = ""
    """The node pool it was made for; empty if none."""
    nodes: int = 0
    """Of that pool, now."""
    registries: tuple[RegistryLogin, ...] = ()
    checksums: bool = True
    rate: float = 2_000_000_000 / 55
    """Bytes/s of a pull, for the estimates."""
    prices: Prices = field(default_factory=Prices)
    verify_boot: bool = False
    """Whether the disk image is read back on a second VM before it counts as made."""

    @property
    def hash(self) -> str:
        """What is on the disk, in 40 hex digits: the same images, architecture and size give the same."""
        return content_hash(self.images, self.arch, self.disk_size_gb, self.checksums)

    @property
    def build(self) -> str:
        """The build's name, by rule: whoever builds the same plan to the same place comes to the same name."""
        text = f"{self.hash} {self.output.ref} {self.vm.project}/{self.vm.zone}"
        return f"imagecache-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def layers(self) -> dict[str, Layer]:
        """Each layer once, by chain ID."""
        return {layer.chain_id: layer for image in self.images for layer in image.layers}

    @property
    def compressed(self) -> int:
        """Bytes to pull, a shared layer once; layers of unknown size don't count."""
        return sum(layer.compressed or 0 for layer in self.layers.values())

    @property
    def seconds_saved(self) -> float:
        """Seconds of pulls that a node saves which runs all the images, at `rate`."""
        return self.compressed / self.rate


@dataclass(frozen=True, slots=True)
class Room:
    """How large the disk may and should be."""

    headroom: float = HEADROOM
    """Factor above the files and the file system's own needs."""
    max_disk_gb: int | None = None
    """GiB; what doesn't fit is left out."""
    disk_gb: int | None = None
    """GiB, if the user says it."""


def content_hash(images: Iterable[PlannedImage], arch: str, disk_size_gb: int, checksums: bool) -> str:
    """See BuildPlan.hash."""
    parts = [sorted([str(i.ref), i.digest] for i in images), arch, disk_size_gb, checksums]
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()[:HASH_LENGTH]


def arrange(
    wanted: Sequence[Wanted], present: Contents | None, room: Room
) -> tuple[tuple[PlannedImage, ...], tuple[AbsentImage, ...], int]:
    """Images for the disk by benefit, images that won't be on it, and the disk's size in GiB.

    PRESENT is what the pool's disk holds now (None: unknown or none). Raises BadUsage if nothing is wanted, nothing
    fits, or the size asked for is too small.
    """
    if not wanted:
        raise BadUsage("there is nothing to put on the disk", "name images with --image or --from-file")
    by_name = {str(w.ref): w for w in wanted}
    largest = room.disk_gb or room.max_disk_gb
    capacity = None if largest is None else int(largest * _GIB / (EXT4_OVERHEAD * room.headroom))
    candidates = [
        Candidate(name, sizes_of(w.facts.layers, UNPACKED_PER_COMPRESSED), w.cold_starts) for name, w in by_name.items()
    ]
    chosen = choose(candidates, capacity)
    if not chosen:
        least = min(size_gb(w.facts.layers, room.headroom) for w in wanted)
        raise BadUsage(f"no image fits on a disk of {largest} GiB", f"the smallest needs {least} GiB")
    images = tuple(_planned(by_name[c.name], present) for c in chosen)
    size = size_gb((layer for i in images for layer in i.layers), room.headroom)
    left_out = [by_name[name] for name in by_name if name not in {c.name for c in chosen}]
    if room.disk_gb is not None:
        size = room.disk_gb
    absent = [
        AbsentImage(w.ref, w.digest, Change.LEFT_OUT, w.facts.compressed, f"no room on {largest} GiB") for w in left_out
    ]
    return images, (*absent, *_dropped(present, wanted)), size


def size_gb(layers: Iterable[Layer], headroom: float) -> int:
    """GiB of a disk for LAYERS (each once): unpacked bytes, ext4's own needs, HEADROOM, rounded up."""
    sizes = sizes_of(tuple(layers), UNPACKED_PER_COMPRESSED)
    return max(MIN_DISK_GB, math.ceil(sum(sizes.values()) * EXT4_OVERHEAD * headroom / _GIB))


def disk_image_name(base: str, hash_: str, taken: int = 0) -> str:
    """A name by rule, at most NAME_LIMIT characters: BASE made legal, the plan's hash, and a number if TAKEN > 0."""
    tail = f"-{hash_[:8]}" + (f"-{taken + 1}" if taken else "")
    stem = re.sub(r"[^a-z0-9]+", "-", base.lower()).strip("-")
    stem = stem if stem[:1].isalpha() else f"cache-{stem}".rstrip("-")
    return stem[: NAME_LIMIT - len(tail)].rstrip("-") + tail


def check_name(name: str, what: str = "disk image name") -> str:
    """NAME, or BadUsage with the reason why it can't be a disk image's or a family's name."""
    if not _NAME.fullmatch(name):
        raise BadUsage(f"not a {what}: {name[:80]!r}", "lower-case letters, digits and dashes, a letter first")
    if what == "disk image name" and len(name) > NAME_LIMIT:
        raise BadUsage(
            f"the disk image name {name} has {len(name)} characters, {NAME_LIMIT} are possible",
            "GKE puts it into a node label, whose name has at most 63",
        )
    if len(name) > 63:
        raise BadUsage(f"the {what} {name[:80]} has more than 63 characters")
    return name


def check_folder(url: str, flag: str = "--contents-url") -> str:
    """URL without a slash at its end, or BadUsage if it is no folder of Cloud Storage (`gs://BUCKET[/FOLDER]`)."""
    if url and not _FOLDER.fullmatch(url):
        raise BadUsage(
            f"{flag}: not a folder of Cloud Storage: {url[:80]!r}", "write gs://BUCKET or gs://BUCKET/FOLDER"
        )
    return url.rstrip("/")


def check_labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """LABELS sorted, or BadUsage for what Compute doesn't take or what is ours."""
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise BadUsage(f"not a label: {key[:80]}={value[:80]}", "lower-case letters, digits, _ and -, at most 63")
        if key.startswith("imagecache-"):
            raise BadUsage(f"the label {key} is this program's own")
    if len(labels) > 50:
        raise BadUsage(f"{len(labels)} labels are too many", "Compute takes 64, some of which are this program's")
    return tuple(sorted(labels.items()))


def contents_of(plan: BuildPlan, built: datetime, builder: str) -> Contents:
    """What the disk holds once PLAN is built; for the disk image's record."""
    return Contents(
        tuple(
            CachedImage(i.ref, i.digest, i.other_digests, i.compressed, i.layers, f"linux/{plan.arch}")
            for i in plan.images
        ),
        built,
        builder,
        plan.hash,
    )


def _planned(wanted: Wanted, present: Contents | None) -> PlannedImage:
    digests = wanted.facts.digests | {wanted.digest}
    held = [] if present is None else [i for i in present.images if i.holds(digests)]
    same_tag = [i for i in (present.images if present else ()) if _same_tag(i.ref, wanted.ref)]
    change = Change.KEPT if held else Change.MOVED if same_tag else Change.NEW
    was = same_tag[0].digest if change is Change.MOVED else ""
    others = wanted.facts.digests - {wanted.digest}
    return PlannedImage(
        wanted.ref, wanted.digest, change, was, max(wanted.cold_starts, 1), wanted.facts.layers, frozenset(others)
    )


def _dropped(present: Contents | None, wanted: Sequence[Wanted]) -> list[AbsentImage]:
    stays = [
        image
        for image in (present.images if present else ())
        if any(_same_tag(image.ref, w.ref) or image.holds(w.facts.digests | {w.digest}) for w in wanted)
    ]
    return [
        AbsentImage(i.ref, i.digest, Change.DROPPED, i.compressed, "nothing here uses it")
        for i in sorted(present.images if present else (), key=lambda image: image.ref)
        if i not in stays
    ]


def _same_tag(one: ImageRef, other: ImageRef) -> bool:
    return one.name == other.name and bool(one.tag) and one.tag == other.tag
