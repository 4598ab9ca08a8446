"""The answer of `disks gc`: what becomes of each disk image, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from kubectl_imagecache.core.disk_gc import DiskImageUse, GcAction, GcDecision, UserKind, Why
from kubectl_imagecache.core.pools import DiskImage
from kubectl_imagecache.core.prices import Prices
from kubectl_imagecache.core.views import Gap
from kubectl_imagecache.render.documents import API_VERSION, Document, disk_image_document, time
from kubectl_imagecache.render.screen import Screen
from kubectl_imagecache.render.table import Cell, Column, Table, cell
from kubectl_imagecache.render.text import GIB, age, count, duration, gib, neutral, wrapped
from kubectl_imagecache.render.view import View

_COLUMNS = (
    Column("FAMILY", "family", least=10, drop=2),
    Column("DISK IMAGE", "disk_image", least=20, keep_end=True),
    Column("AGE", "created", right=True),
    Column("STORED", "archive_bytes", right=True, drop=1),
    Column("STATE", "state", wide=True),
    Column("ACTION", "action"),
    Column("WHY", "why", least=16),
)
_STYLES = {GcAction.KEEP: "", GcAction.DEPRECATE: "warn", GcAction.RESTORE: "good", GcAction.DELETE: "bad"}
SHOWN_USERS = 2


def gc_view(
    decisions: Sequence[GcDecision],
    gaps: Sequence[Gap],
    nameless: Sequence[DiskImage],
    now: datetime,
    project: str,
    grace: timedelta,
) -> View:
    """DECISIONS in every form; NAMELESS are disk images without a family, which are left alone."""
    return View(
        document={
            "apiVersion": API_VERSION,
            "kind": "DiskImageGc",
            "project": project,
            "items": [_item(decision) for decision in decisions],
            "withoutFamily": [str(image.ref) for image in nameless],
            "gaps": [{"what": gap.what, "why": gap.why, "hint": gap.hint} for gap in gaps],
        },
        items="items",
        table=Table(_COLUMNS, tuple(_row(decision, now) for decision in decisions)),
        names=tuple(f"diskimage/{d.image.ref.name}" for d in decisions if d.action is not GcAction.KEEP),
        notes=lambda screen: _notes(decisions, gaps, nameless, grace, screen),
        empty="There is no family of disk images that this program built alone.",
    )


def use_words(uses: Sequence[DiskImageUse]) -> list[str]:
    """Each pool, class and template by name, and the disks, which may be thousands, by their number if several."""
    disks = [use for use in uses if use.kind is UserKind.DISK]
    named = [use for use in uses if use.kind is not UserKind.DISK] + (disks if len(disks) == 1 else [])
    words = [neutral(f"{use.kind.value} {use.who}") for use in named]
    return words + ([count(len(disks), "disk")] if len(disks) > 1 else [])


def why_words(decision: GcDecision) -> str:
    """The reason in a few words."""
    match decision.why:
        case Why.USED:
            users = use_words(decision.uses)
            more = len(users) - SHOWN_USERS
            return f"used by {', '.join(users[:SHOWN_USERS])}{f' and {more} more' if more > 0 else ''}"
        case Why.NEWEST:
            return "among the newest"
        case Why.GRACE:
            return f"deprecated; goes {decision.until:%Y-%m-%d %H:%M} UTC"
        case Why.UNFINISHED:
            return f"is {decision.image.state.value}"
        case Why.UNREAD:
            return "perhaps used: not everything was read"
        case Why.UNUSED:
            return "nothing uses it"
        case Why.GRACE_OVER:
            return "nothing uses it, and its grace is over"


def _item(decision: GcDecision) -> Document:
    return {
        **(disk_image_document(decision.image) or {}),
        "deprecatedAt": time(decision.image.deprecated_at),
        "action": decision.action.value,
        "why": decision.why.value,
        "deleteAfter": time(decision.until),
        "record": decision.record.url if decision.record else None,
        "usedBy": [{"kind": use.kind.value, "name": use.who} for use in decision.uses],
    }


def _row(decision: GcDecision, now: datetime) -> tuple[Cell, ...]:
    image = decision.image
    return (
        cell(image.family),
        cell(image.ref.name),
        Cell(age(image.created, now), time(image.created)),
        Cell("-" if image.archive_bytes is None else gib(image.archive_bytes), image.archive_bytes),
        cell(image.state.value),
        Cell(decision.action.value, decision.action.value, _STYLES[decision.action]),
        cell(why_words(decision)),
    )


def _notes(
    decisions: Sequence[GcDecision],
    gaps: Sequence[Gap],
    nameless: Sequence[DiskImage],
    grace: timedelta,
    screen: Screen,
) -> list[str]:
    lines: list[str] = []
    deprecated = sum(d.action is GcAction.DEPRECATE for d in decisions)
    if deprecated:
        span = duration(grace.total_seconds())
        lines.append(f"{count(deprecated, 'disk image')} to deprecate: deleted by a run after {span}, if still unused.")
    gone = [d.image for d in decisions if d.action is GcAction.DELETE]
    if gone:
        freed = sum(image.archive_bytes or 0 for image in gone)
        price = freed / GIB * Prices().image_gib_month
        lines.append(f"{count(len(gone), 'disk image')} to delete: {gib(freed)} stored, about ${price:.2f} a month.")
    if records := [d.record for d in decisions if d.record]:
        more = f" and {len(records) - 2} more" if len(records) > 2 else ""
        lines.append(f"With them from Cloud Storage: {neutral(', '.join(r.url for r in records[:2]))}{more}.")
    if nameless:
        names = ", ".join(neutral(image.ref.name) for image in nameless[:3])
        more = f" and {len(nameless) - 3} more" if len(nameless) > 3 else ""
        lines.append(f"In no family, and so left alone: {names}{more}.")
    if gaps:
        lines.append("Not everything that may use a disk image could be read: nothing is deprecated or deleted.")
    lines.append("Clusters of projects that were not looked at (--used-in) may use these disk images, too.")
    return ["", *(part for line in lines for part in wrapped(line, "", "  ", screen.cells))]
