"""The answer of `list`: the container images on each pool's cache disk."""

from __future__ import annotations

from collections.abc import Iterator

from kubectl_imagecache.core.contents import CachedImage
from kubectl_imagecache.core.reasons import DiskImageNotRead, DiskImageUnusable, NoRecord, RecordUnreadable
from kubectl_imagecache.core.report import Match, PoolStatus, StatusReport
from kubectl_imagecache.render.documents import list_document
from kubectl_imagecache.render.names import namer, refs_of
from kubectl_imagecache.render.screen import Screen
from kubectl_imagecache.render.table import Cell, Column, Table, cell, number
from kubectl_imagecache.render.text import gib, hexes, neutral, wrapped
from kubectl_imagecache.render.view import View
from kubectl_imagecache.render.words import words

_WHY_UNKNOWN = (NoRecord, RecordUnreadable, DiskImageNotRead, DiskImageUnusable)
_COLUMNS = (
    Column("POOL", "pool", least=12),
    Column("IMAGE", "image", least=24, keep_end=True),
    Column("DIGEST", "digest", drop=1),
    Column("SIZE", "compressed_bytes", right=True),
    Column("PLATFORM", "platform", wide=True),
    Column("PODS", "pods", right=True),
    Column("NODES", "nodes", right=True),
)


def list_view(report: StatusReport) -> View:
    """REPORT's cached images in every form."""
    images = [(status, image) for status in report.pools for image in listed(status)]
    return View(
        document=list_document(report, images),
        items="items",
        table=Table(_COLUMNS, tuple(_row(status, image) for status, image in images)),
        names=tuple(dict.fromkeys(f"image/{image.ref}" for _, image in images)),
        notes=lambda screen: unknown_notes(report, screen),
        empty="No cached images found.",
    )


def listed(status: PoolStatus) -> tuple[CachedImage, ...]:
    """The pool's cached images by reference."""
    return tuple(sorted(status.contents.images if status.contents else (), key=lambda image: image.ref))


def unknown_notes(report: StatusReport, screen: Screen) -> list[str]:
    """For each pool whose disk's contents are unknown, why, and what reads them."""
    return [line for status in report.pools for line in _unknown(status, report, screen)]


def _unknown(status: PoolStatus, report: StatusReport, screen: Screen) -> Iterator[str]:
    pool = neutral(status.pool.name)
    if not status.pool.cache_disks and len(report.pools) == 1:
        yield from ["", f"{pool} has no cache disk."]
    if not status.pool.cache_disks or status.contents is not None:
        return
    name = namer(refs_of(report.pools))
    known = [words(r, name).sentence for r in status.verdict.reasons if isinstance(r, _WHY_UNKNOWN)]
    text = f"{pool}: what its cache disk holds is unknown. {' '.join(known)} See `{screen.program} status {pool}`."
    yield from ["", *wrapped(" ".join(text.split()), "", "  ", screen.cells)]


def _row(status: PoolStatus, image: CachedImage) -> tuple[Cell, ...]:
    users = [match.use for match in status.uses if match.match is Match.CACHED and match.cached == image]
    pods = sum(use.pods for use in users)
    return (
        cell(status.pool.name),
        Cell(neutral(image.ref.familiar), str(image.ref)),
        Cell(hexes(image.digest), image.digest),
        Cell("-" if image.compressed is None else gib(image.compressed), image.compressed),
        cell(image.platform),
        Cell(str(pods), pods, "" if pods else "dim"),
        number(max((use.nodes for use in users), default=0)),
    )
