"""The answer of `pulls`: one row a group, and beneath what stands out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.pull_methods import Method
from kubectl_imagecache.core.pull_report import PullReport
from kubectl_imagecache.core.pull_stats import By, Group, MethodCount, Spread
from kubectl_imagecache.core.references import ImageRef, parse
from kubectl_imagecache.render.names import namer
from kubectl_imagecache.render.pull_document import pull_document
from kubectl_imagecache.render.pull_words import ImageName, seconds, sentence
from kubectl_imagecache.render.screen import Screen
from kubectl_imagecache.render.table import Cell, Column, Table, cell, number, paint
from kubectl_imagecache.render.text import gib, mib_per_s, neutral, wrapped
from kubectl_imagecache.render.view import View

TITLES = {By.POOL: "POOL", By.IMAGE: "IMAGE", By.METHOD: "METHOD", By.NODE: "NODE"}
"""The first column's, by what a row is."""
_COLUMNS = (
    Column("PULLS", "pulls", right=True),
    Column("NODES", "nodes", right=True, drop=1),
    Column("P50", "p50_s", right=True),
    Column("P90", "p90_s", right=True),
    Column("MAX", "max_s", right=True),
    Column("FIRST", "first_p50_s", right=True, drop=3),
    Column("LATER", "later_p50_s", right=True, drop=2),
    Column("QUEUE", "queue_p50_s", wide=True, right=True),
    Column("BYTES", "bytes", right=True, drop=5),
    Column("RATE", "rate_bytes_per_s", right=True, drop=4),
    Column("PRESENT", "present", wide=True, right=True),
    Column("FAILED", "failed", wide=True, right=True),
    Column("PROVISION", "provision_p50_s", wide=True, right=True),
    Column("PULL", "pod_pull_p50_s", wide=True, right=True),
    Column("START", "start_p50_s", wide=True, right=True),
    Column("METHODS", "methods", least=14),
)
_LEGEND = (
    "P50, P90, MAX: seconds from the kubelet's asking to the image's being there, without the wait in its queue. "
    "FIRST, LATER: medians of the first pull of an image on any node of the pool, and of those on further nodes. "
    "RATE: the image's whole size by the time."
)
_WIDE_LEGEND = (
    "PROVISION, PULL, START: medians of the pods' way to Ready: node created to pod placed (pods that waited for their "
    "node), all of its pulls with their waits, the rest."
)


def pulls_view(report: PullReport) -> View:
    """REPORT in every form."""
    name = image_namer(report)
    return View(
        document=pull_document(report, name),
        items="groups",
        table=group_table(report.groups, report.by, name),
        names=tuple(f"{TITLES[report.by].lower()}/{key_text(group, report.by)}" for group in report.groups),
        notes=lambda screen: _notes(report, name, screen),
        empty="No image pulls found.",
    )


def group_table(found: Sequence[Group], by: By, name: ImageName) -> Table:
    """A row for each group of FOUND."""
    # Their ends tell images and nodes apart.
    first = Column(TITLES[by], by.value, least=16, keep_end=by in (By.IMAGE, By.NODE))
    return Table((first, *_COLUMNS), tuple(_row(group, by, name) for group in found))


def image_namer(report: PullReport) -> ImageName:
    """Short names for the report's images, unambiguous within it; what is no reference is shown as it is, neutral."""
    texts = {one.pull.image for one in report.pulls} | {trouble.image for trouble in report.troubles}
    refs = dict(_parsed(texts))
    short = namer(refs.values())

    def name(image: str) -> str:
        ref = refs.get(image) or dict(_parsed([image])).get(image)
        return short(ref) if ref else neutral(image) or "(no image)"

    return name


def _parsed(texts: Iterable[str]) -> Iterable[tuple[str, ImageRef]]:
    for text in texts:
        try:
            yield text, parse(text)
        except BadUsage:
            continue


def key_text(group: Group, by: By) -> str:
    """The group's key, in full; a word where there is none."""
    return group.key or {By.POOL: "(unknown)", By.NODE: "(unknown)"}.get(by, "(none)")


def methods_text(methods: Sequence[MethodCount]) -> str:
    """`cache disk 75%, registry 25% (inferred)`; the node's own store doesn't count, for nothing was pulled."""
    pulled = [one for one in methods if one.method is not Method.NODE_STORE] or list(methods)
    total = sum(one.pulls for one in pulled)
    parts = []
    for one in pulled:
        share = "" if len(pulled) == 1 else f" {_percent(one.pulls, total)}"
        sure = "" if one.observed == one.pulls else " (inferred)" if not one.observed else " (partly inferred)"
        parts.append(f"{one.method.value}{share}{sure}")
    return ", ".join(parts) or "-"


def _percent(part: int, whole: int) -> str:
    return f"{min(99, max(1, round(100 * part / whole)))}%" if 0 < part < whole else "100%"


def _row(group: Group, by: By, name: ImageName) -> tuple[Cell, ...]:
    key = key_text(group, by)
    shown = name(group.key) if by is By.IMAGE and group.key else neutral(key)
    spent, starts = group.seconds, group.starts
    return (
        Cell(shown, key),
        number(group.pulls),
        number(group.nodes),
        _time(spent.p50 if spent else None),
        _time(spent.p90 if spent else None),
        _time(spent.most if spent else None),
        _median(group.first),
        _median(group.later),
        _median(group.queue),
        Cell(gib(group.size) if group.sized else "-", group.size if group.sized else None),
        Cell(mib_per_s(group.rate) if group.rate else "-", round(group.rate, 3) if group.rate else None),
        number(group.present),
        Cell(str(group.failed), group.failed, "bad" if group.failed else "dim"),
        _time(starts.provision_s if starts else None),
        _time(starts.pull_s if starts else None),
        _time(starts.start_s if starts else None),
        cell(methods_text(group.methods)),
    )


def _median(spread: Spread | None) -> Cell:
    return _time(spread.p50 if spread else None)


def _time(value: float | None) -> Cell:
    return Cell("-" if value is None else seconds(value), None if value is None else round(value, 6))


def _notes(report: PullReport, name: ImageName, screen: Screen) -> list[str]:
    lines: list[str] = []
    if report.findings:
        title = "What stands out:"
        lines += ["", paint(title, "bold") if screen.colour else title]
        for finding in report.findings:
            lines += wrapped(sentence(finding, name), "  - ", "    ", screen.cells)
    if report.pulls:
        lines += ["", *wrapped(_LEGEND + (f" {_WIDE_LEGEND}" if screen.wide else ""), "", "", screen.cells)]
    return lines
