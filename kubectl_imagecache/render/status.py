"""The answer of `status`: one row a pool, and beneath what is wrong with each and what to do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from kubectl_imagecache.core.reasons import ImageMissing, Level, NewTag, PartlyCached, Reason, TagMoved, Unused
from kubectl_imagecache.core.references import ImageRef
from kubectl_imagecache.core.report import Basis, ColdStart, PoolStatus, State, StatusReport, Suggestion
from kubectl_imagecache.render.documents import status_document, time
from kubectl_imagecache.render.names import Namer, namer, refs_of
from kubectl_imagecache.render.screen import Screen
from kubectl_imagecache.render.table import Cell, Column, Table, cell, number, paint
from kubectl_imagecache.render.text import age, count, duration, gib, mib_per_s, neutral, percent, wrapped
from kubectl_imagecache.render.view import View
from kubectl_imagecache.render.words import words

STATE_STYLES = {
    State.FRESH: "good",
    State.STALE: "warn",
    State.UNKNOWN: "odd",
    State.BROKEN: "bad",
    State.NONE: "dim",
}
_COLUMNS = (
    Column("POOL", "pool", least=16),
    Column("STATE", "state"),
    Column("NODES", "nodes", right=True),
    Column("DISK IMAGE", "disk_image", least=24, drop=3),
    Column("AGE", "disk_image_created", drop=4),
    Column("IMAGES", "images", wide=True),
    Column("COVERAGE", "coverage_bytes", right=True),
    Column("PULLS", "coverage_pulls", wide=True, right=True),
    Column("COLD START", "cold_start_s", drop=1),
    Column("VERSION", "version", wide=True),
    Column("WHY", "why", least=22),
)
_SAME_KIND = 6
"""Sentences of one kind under a pool; more are counted, and shown with -o wide."""


def status_view(report: StatusReport) -> View:
    """REPORT in every form."""
    name = namer(refs_of(report.pools))
    return View(
        document=status_document(report),
        items="pools",
        table=Table(_COLUMNS, tuple(_row(status, report, name) for status in report.pools)),
        names=tuple(f"nodepool/{status.pool.name}" for status in report.pools),
        notes=lambda screen: _notes(report, name, screen),
        empty="No node pools found.",
    )


def cold_start_text(cold: ColdStart | None) -> str:
    """`+74s est.`, `+12s measured`; `-` where nothing is lost or known."""
    if cold is None:
        return "-"
    basis = {Basis.MEASURED: "measured", Basis.ESTIMATED: "est.", Basis.MIXED: "mixed"}[cold.basis]
    if cold.unknown_sizes and not cold.seconds:
        return "unknown"
    more = ">" if cold.unknown_sizes else ""
    seconds = f"+{more}{duration(cold.seconds)}" if cold.seconds >= 1 else "<1s"
    return f"{seconds} {basis}"


def _row(status: PoolStatus, report: StatusReport, name: Namer) -> tuple[Cell, ...]:
    state = status.verdict.state
    disks = ", ".join(disk.image.name for disk in status.pool.cache_disks or status.pool.disks)
    image, coverage, cold = status.disk_image, status.coverage, status.cold_start
    created = image.created if image else None
    by_bytes = coverage is not None and coverage.bytes.ratio is not None and not coverage.unknown_sizes
    share = None if coverage is None else coverage.bytes if by_bytes else coverage.images
    return (
        cell(status.pool.name),
        Cell(state.value, state.value, STATE_STYLES[state]),
        number(status.nodes),
        cell(disks),
        Cell(age(created, report.observed_at), time(created)),
        Cell(f"{coverage.images.part}/{coverage.images.whole}" if coverage else "-", _ratio(status, "images")),
        Cell("-" if share is None else percent(share), _ratio(status, "bytes")),
        Cell(percent(coverage.pulls) if coverage else "-", _ratio(status, "pulls")),
        Cell(cold_start_text(cold), round(cold.seconds, 3) if cold else None),
        cell(status.pool.version),
        _why(status, name),
    )


def _ratio(status: PoolStatus, way: str) -> float | None:
    if status.coverage is None:
        return None
    share = {"images": status.coverage.images, "bytes": status.coverage.bytes, "pulls": status.coverage.pulls}[way]
    return None if share.ratio is None else round(share.ratio, 4)


def _why(status: PoolStatus, name: Namer) -> Cell:
    if status.verdict.state is State.NONE:
        return Cell("no cache disk", "no cache disk")
    main = [reason for reason in status.verdict.reasons if reason.level is not Level.NOTE]
    if not main:
        unused = sum(isinstance(reason, Unused) for reason in status.verdict.reasons)
        text = f"{unused} cached but unused" if unused else "-"
        return Cell(text, text)
    more = f" +{len(main) - 1} more" if len(main) > 1 else ""
    # Of reasons that weigh the same, the images come first: they are what the pool waits for.
    first = next((r for r in main if isinstance(r, ImageMissing | TagMoved | NewTag)), main[0])
    short = words(first if first.level == main[0].level else main[0], name).short
    return Cell(short, short + more, tail=more)


def _notes(report: StatusReport, name: Namer, screen: Screen) -> list[str]:
    lines: list[str] = []
    for status in report.pools:
        quiet = status.verdict.state in (State.NONE, State.FRESH)
        if (quiet and not screen.wide) or not status.verdict.reasons:
            continue
        state = status.verdict.state
        word = paint(state.value, STATE_STYLES[state]) if screen.colour else state.value
        lines += ["", f"{neutral(status.pool.name)} is {word}:"]
        for sentence in _sentences(status.verdict.reasons, name, screen):
            lines += wrapped(sentence, "  - ", "    ", screen.cells)
        if status.suggestion:
            lines += _suggested(status.suggestion, name, screen)
    if any(status.cold_start and status.cold_start.basis is not Basis.MEASURED for status in report.pools):
        rate = next(status.cold_start.rate for status in report.pools if status.cold_start)
        lines += ["", *wrapped(_legend(rate), "", "", screen.cells)]
    return lines


def _legend(rate: float) -> str:
    return (
        "COLD START: what a new node of the pool loses to pulls that the cache disk would save; "
        f"estimated at {mib_per_s(rate)} (--rate) where no pull was measured."
    )


def _sentences(reasons: tuple[Reason, ...], name: Namer, screen: Screen) -> Iterator[str]:
    partly = {reason.ref: reason for reason in reasons if isinstance(reason, PartlyCached)}
    unused = [reason for reason in reasons if isinstance(reason, Unused)]
    shown: dict[type, int] = {}
    for reason in reasons:
        if isinstance(reason, PartlyCached | Unused):
            continue
        shown[type(reason)] = shown.get(type(reason), 0) + 1
        if shown[type(reason)] > _SAME_KIND and not screen.wide:
            continue
        sentence = words(reason, name).sentence
        if isinstance(reason, ImageMissing | TagMoved | NewTag) and reason.ref in partly:
            sentence += " " + _partly(partly[reason.ref])
        yield sentence
    left = sum(max(0, number - _SAME_KIND) for number in shown.values())
    if left and not screen.wide:
        yield f"… and {left} more; -o wide shows all."
    if unused:
        yield _unused(unused, name, screen)


def _partly(reason: PartlyCached) -> str:
    size = "" if reason.bytes_cached is None else f" ({gib(reason.bytes_cached)})"
    verb = "is" if reason.layers_cached == 1 else "are"
    return f"{reason.layers_cached} of its {count(reason.layers, 'layer')}{size} {verb} cached all the same."


def _unused(unused: list[Unused], name: Namer, screen: Screen) -> str:
    size = sum(reason.compressed or 0 for reason in unused)
    known = f" ({gib(size)})" if all(reason.compressed is not None for reason in unused) else ""
    return f"Cached but unused{known}: {_named([reason.ref for reason in unused], name, screen)}."


def _suggested(suggestion: Suggestion, name: Namer, screen: Screen) -> list[str]:
    """The command stands alone on its line and is never wrapped: it is there to be copied."""
    advice = neutral(suggestion.advice)
    if not suggestion.argv:
        cells = None if advice.startswith("gcloud ") else screen.cells
        return wrapped(f"To mend it: {advice}", "  ", "    ", cells) if advice else []
    command = f"{screen.program} {shlex.join(neutral(word) for word in suggestion.argv)}"
    lines = [f"  To mend it: {paint(command, 'bold') if screen.colour else command}"]
    parts = [f"adds {_named(suggestion.adds, name, screen)}"] if suggestion.adds else []
    parts += [f"drops {_named(suggestion.drops, name, screen)}"] if suggestion.drops else []
    parts += [f"keeps {suggestion.keeps}"] if parts and suggestion.keeps else []
    about = "at most" if suggestion.disk_size_is_most else "about"
    parts += [f"needs a disk of {about} {suggestion.disk_size_gb} GiB"] if suggestion.disk_size_gb is not None else []
    text = "; ".join([*parts, advice] if advice else parts)
    return lines + (wrapped(text, "    ", "    ", screen.cells) if text else [])


def _named(refs: Sequence[ImageRef], name: Namer, screen: Screen) -> str:
    names = [name(ref) for ref in refs]
    if len(names) > _SAME_KIND and not screen.wide:
        names = [*names[:_SAME_KIND], f"{len(names) - _SAME_KIND} more"]
    return ", ".join(names)
