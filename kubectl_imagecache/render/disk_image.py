"""The answer of `disks describe`: one disk image, what is on it, and who uses it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from kubectl_imagecache.core.contents import Contents, UnreadableRecord
from kubectl_imagecache.core.disk_gc import DiskImageUse
from kubectl_imagecache.core.pools import DiskImage
from kubectl_imagecache.core.views import Gap
from kubectl_imagecache.render.disk_gc import use_words
from kubectl_imagecache.render.documents import (
    API_VERSION,
    cached_document,
    contents_document,
    disk_image_document,
    time,
)
from kubectl_imagecache.render.table import Cell, Column, Table, cell
from kubectl_imagecache.render.text import age, gib, hexes, neutral
from kubectl_imagecache.render.view import View

_COLUMNS = (Column("FIELD", "field"), Column("VALUE", "value", least=30))
Fact = tuple[str, str, str | int | None]
"""Field, text for people, raw value."""


def disk_image_view(image: DiskImage, uses: Sequence[DiskImageUse], gaps: Sequence[Gap], now: datetime) -> View:
    """IMAGE with its USES in every form; GAPS are users that could not be read."""
    contents = image.contents if isinstance(image.contents, Contents) else None
    unreadable = image.contents.why if isinstance(image.contents, UnreadableRecord) else None
    facts = [*_about(image, now), *_held(image), *_used(uses, gaps)]
    return View(
        document={
            "apiVersion": API_VERSION,
            "kind": "DiskImage",
            **(disk_image_document(image) or {}),
            "deprecatedAt": time(image.deprecated_at),
            "labels": dict(image.labels),
            "contents": contents_document(contents),
            "recordUnreadable": unreadable,
            "images": [cached_document(held) for held in contents.images] if contents else [],
            "usedBy": [{"kind": use.kind.value, "name": use.who} for use in uses],
            "gaps": [{"what": gap.what, "why": gap.why, "hint": gap.hint} for gap in gaps],
        },
        items="images",
        table=Table(_COLUMNS, tuple((cell(name), Cell(text, raw)) for name, text, raw in facts)),
        names=(f"diskimage/{image.ref.name}",),
        notes=lambda screen: [],
        empty="",
    )


def _about(image: DiskImage, now: datetime) -> Iterator[Fact]:
    yield "disk image", neutral(str(image.ref)), str(image.ref)
    yield "state", image.state.value, image.state.value
    if image.deprecated_at is not None:
        yield "deprecated", f"{age(image.deprecated_at, now)} ago", time(image.deprecated_at)
    if image.replacement:
        yield "use instead", neutral(image.replacement), image.replacement
    yield "family", neutral(image.family) or "-", image.family
    yield "made", f"{time(image.created) or 'unknown'} ({age(image.created, now)} ago)", time(image.created)
    yield "disk size", "unknown" if image.size_gb is None else f"{image.size_gb} GiB", image.size_gb
    yield "stored", gib(image.archive_bytes), image.archive_bytes
    yield "architecture", neutral(image.arch) or "not stated", image.arch
    for key, value in sorted(image.labels.items()):
        yield "label", neutral(f"{key}={value}"), f"{key}={value}"


def _held(image: DiskImage) -> Iterator[Fact]:
    if image.contents is None:
        yield "holds", "unknown: it carries no record", None
    elif isinstance(image.contents, UnreadableRecord):
        yield "holds", neutral(f"unknown: {image.contents.why}"), None
    else:
        if image.contents.builder:
            yield "built by", neutral(image.contents.builder), image.contents.builder
        for held in sorted(image.contents.images, key=lambda one: one.ref):
            text = f"{held.ref.familiar} {hexes(held.digest)} {gib(held.compressed)}"
            yield "holds", neutral(text), f"{held.ref}@{held.digest}" if not held.ref.digest else str(held.ref)
        if not image.contents.complete:
            yield "holds", "more, which the record leaves out", None


def _used(uses: Sequence[DiskImageUse], gaps: Sequence[Gap]) -> Iterator[Fact]:
    for words in use_words(uses):
        yield "used by", words, words
    if not uses and not gaps:
        yield "used by", "nothing in reach", None
    for gap in gaps:
        yield "used by", neutral(f"unknown: {gap.what} not read"), None
