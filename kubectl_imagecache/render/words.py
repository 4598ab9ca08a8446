"""Every reason of a verdict in words: a short clause for tables, a sentence, and the README's table."""

from __future__ import annotations

import sys
import typing
from dataclasses import dataclass
from functools import singledispatch

from kubectl_imagecache.core import reasons as why
from kubectl_imagecache.core.pools import DiskImageRef, DiskState
from kubectl_imagecache.core.reasons import Level, Reason
from kubectl_imagecache.render.names import Namer
from kubectl_imagecache.render.text import count, gib, hexes, neutral

_STATES = {
    DiskState.PENDING: ("unfinished", "is not finished yet"),
    DiskState.FAILED: ("failed", "failed to build"),
    DiskState.DEPRECATED: ("deprecated", "is deprecated"),
    DiskState.OBSOLETE: ("obsolete", "is obsolete"),
    DiskState.DELETED: ("deleted", "is deleted"),
    DiskState.MISSING: ("missing", "does not exist"),
    DiskState.READY: ("ready", "is ready"),
}
"""A word for a clause, a predicate for a sentence."""


@dataclass(frozen=True, slots=True)
class Words:
    """One reason for people."""

    short: str
    """A clause of a few words, for a table's cell."""
    sentence: str
    """A whole sentence."""


@singledispatch
def words(reason: Reason, name: Namer) -> Words:
    """REASON in words, container images named by NAME; raise TypeError for a type that has none."""
    raise TypeError(f"no words for {type(reason).__name__}")


def _users(reason: why.ImageReason) -> str:
    if not reason.pods:
        return "workload templates that run nothing now"
    pods = count(reason.pods, "pod")
    return f"{pods} on {count(reason.nodes, 'node')}" if reason.nodes else f"{pods} not yet on a node"


def _use(reason: why.ImageReason) -> str:
    return "uses" if reason.pods == 1 else "use"


def _disk(ref: DiskImageRef) -> str:
    return neutral(ref.name)


@words.register
def _(reason: why.ImageMissing, name: Namer) -> Words:
    image = name(reason.ref)
    return Words(
        f"missing: {image}",
        f"{image} ({gib(reason.compressed)}) is missing from the disk; {_users(reason)} {_use(reason)} it.",
    )


@words.register
def _(reason: why.TagMoved, name: Namer) -> Words:
    image = name(reason.ref)
    return Words(
        f"moved tag: {image}",
        f"{image} ({gib(reason.compressed)}) has moved: the disk holds {hexes(reason.old)}, "
        f"{_users(reason)} {_use(reason)} {hexes(reason.new)}.",
    )


@words.register
def _(reason: why.NewTag, name: Namer) -> Words:
    image = name(reason.ref)
    cached = ", ".join(hexes(tag) if ":" in tag else neutral(tag) for tag in reason.cached)
    return Words(
        f"new tag: {image}",
        f"{image} ({gib(reason.compressed)}) is not on the disk, which holds {cached}; "
        f"{_users(reason)} {_use(reason)} it.",
    )


@words.register
def _(reason: why.PartlyCached, name: Namer) -> Words:
    layers = f"{reason.layers_cached} of {count(reason.layers, 'layer')}"
    size = "" if reason.bytes_cached is None else f" ({gib(reason.bytes_cached)} of {gib(reason.bytes)})"
    return Words(
        f"partly cached: {name(reason.ref)}",
        f"{name(reason.ref)} is partly cached: {layers}{size} {'is' if reason.layers_cached == 1 else 'are'} "
        "on the disk all the same.",
    )


@words.register
def _(reason: why.Unused, name: Namer) -> Words:
    image = name(reason.ref)
    return Words(
        f"unused: {image}", f"{image} ({gib(reason.compressed)}) is on the disk, but nothing in this pool uses it."
    )


@words.register
def _(reason: why.DiskImageUnusable, name: Namer) -> Words:
    word, predicate = _STATES[reason.state]
    return Words(
        f"disk image {word}",
        f"The disk image {_disk(reason.disk_image)} {predicate}: new nodes can't be made from it.",
    )


@words.register
def _(reason: why.DiskImageDeprecated, name: Namer) -> Words:
    instead = (
        f"; its owner names {neutral(reason.replacement.rpartition('/')[2])} instead" if reason.replacement else ""
    )
    return Words("disk image deprecated", f"The disk image {_disk(reason.disk_image)} is deprecated{instead}.")


@words.register
def _(reason: why.DiskImageRecreated, name: Namer) -> Words:
    return Words(
        "disk image re-created",
        f"The disk image {_disk(reason.disk_image)} was made again on {reason.created:%Y-%m-%d %H:%M} UTC; "
        f"{reason.older_nodes} of {count(reason.nodes, 'node')} {'is' if reason.older_nodes == 1 else 'are'} older "
        "and still on the one before.",
    )


@words.register
def _(reason: why.NewerInFamily, name: Namer) -> Words:
    return Words(
        "newer disk image in family",
        f"The family {neutral(reason.family)} has a newer disk image, {_disk(reason.newest)}; "
        f"this pool has {_disk(reason.disk_image)}.",
    )


@words.register
def _(reason: why.NotACache, name: Namer) -> Words:
    return Words(
        "disk is not in cache mode",
        f"The disk of {_disk(reason.disk_image)} is a plain data disk: its mode is not CONTAINER_IMAGE_CACHE, "
        "so it caches nothing.",
    )


@words.register
def _(reason: why.ImageStreamingOff, name: Namer) -> Words:
    return Words("image streaming off", "Image streaming is off in this pool, and cache disks need it.")


@words.register
def _(reason: why.VersionTooOld, name: Namer) -> Words:
    return Words(
        "GKE version is too old",
        f"GKE {neutral(reason.version)} is too old for cache disks with this node image: "
        f"{neutral(reason.needed)} or newer is needed.",
    )


@words.register
def _(reason: why.NodeImageUnsupported, name: Namer) -> Words:
    return Words(
        "node image has no cache disks",
        f"The node image {neutral(reason.image_type)} knows no cache disks; COS_CONTAINERD does.",
    )


@words.register
def _(reason: why.NodesWithoutDisk, name: Namer) -> Words:
    some = f"{reason.without} of {count(reason.nodes, 'node')}"
    lack = "lacks" if reason.without == 1 else "lack"
    return Words(f"no disk on {some}", f"{some} {lack} the label of the disk {_disk(reason.disk_image)}.")


@words.register
def _(reason: why.WrongArchitecture, name: Namer) -> Words:
    return Words(
        "disk image is for another CPU",
        f"The disk image {_disk(reason.disk_image)} is for {neutral(reason.disk_arch)}, "
        f"but the nodes are {neutral(reason.node_arch)}.",
    )


@words.register
def _(reason: why.NameTooLong, name: Namer) -> Words:
    return Words(
        "disk image's name is too long",
        f"The name {_disk(reason.disk_image)} has more than {reason.limit} characters, "
        "so nodes can't carry a label that shows the disk.",
    )


@words.register
def _(reason: why.NoRecord, name: Namer) -> Words:
    return Words(
        "no record of the contents",
        f"Nothing on the disk image {_disk(reason.disk_image)} says what it holds (Google's builder leaves no record).",
    )


@words.register
def _(reason: why.RecordUnreadable, name: Namer) -> Words:
    return Words(
        "record can't be read",
        f"The contents record of the disk image {_disk(reason.disk_image)} can't be used: {neutral(reason.why)}.",
    )


@words.register
def _(reason: why.RecordIncomplete, name: Namer) -> Words:
    return Words(
        "record is incomplete",
        f"The contents record of the disk image {_disk(reason.disk_image)} says that it leaves images out: "
        "there may be more on the disk.",
    )


@words.register
def _(reason: why.DiskImageNotRead, name: Namer) -> Words:
    return Words("disk image could not be read", f"Compute Engine could not be asked about {_disk(reason.disk_image)}.")


@words.register
def _(reason: why.DemandUnknown, name: Namer) -> Words:
    return Words("pods could not be read", "The pods could not be read, so there is nothing to compare the disk with.")


@words.register
def _(reason: why.ManagedByTool, name: Namer) -> Words:
    tool = neutral(reason.tool)
    return Words(
        f"kept by {tool}",
        f"{tool} keeps this pool (label {neutral(reason.label)}): its next apply may undo a roll, so commit what "
        f"`roll {neutral(reason.pool)} --emit {reason.emit}` prints.",
    )


def readme_table() -> str:
    """The README's table of reasons, in markdown: the fixed word, what it makes of a pool, what it means."""
    lines = ["| Reason | Makes the pool | Meaning |", "|---|---|---|"]
    for kind in typing.get_args(Reason):
        # A level that depends on the reason's own data is a property: its docstring says how.
        level = kind.level
        makes = level.__doc__ if isinstance(level, property) else "(a note)" if level is Level.NOTE else level.name
        lines.append(f"| `{kind.code}` | {makes} | {' '.join((kind.__doc__ or '').split())} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(readme_table())
