"""The answer of `bench`: one row a pool, and beneath what the numbers mean and what kept them from being more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kubectl_imagecache.core.bench_pools import Difference, PoolFacts, pulls_text
from kubectl_imagecache.core.bench_report import BenchReport, PoolResult, Stat
from kubectl_imagecache.core.probe import NO_COMMAND, Found
from kubectl_imagecache.core.pull_methods import Sureness
from kubectl_imagecache.render.bench_document import bench_document
from kubectl_imagecache.render.pull_words import seconds, times
from kubectl_imagecache.render.screen import Screen
from kubectl_imagecache.render.table import Cell, Column, Table, cell, paint
from kubectl_imagecache.render.text import count, gib, neutral, wrapped
from kubectl_imagecache.render.view import View

_COLUMNS = (
    Column("POOL", "pool", least=12),
    Column("METHOD", "method", least=19),
    Column("PULLS", "pulls", right=True),
    Column("FIRST", "first_s", right=True),
    Column("LATER", "later_s", right=True),
    Column("SPREAD", "spread_s", right=True, drop=3),
    Column("RATIO", "ratio", right=True),
    Column("RUN FIRST", "running_first_s", right=True, drop=2),
    Column("RUN LATER", "running_later_s", right=True, drop=1),
    Column("SIZE", "bytes", right=True, wide=True),
)
_LEGEND = (
    "FIRST: the pool's very first pull, before which nothing on the way has the image. LATER, SPREAD: median, fastest "
    "and slowest of the pulls on further fresh nodes. RATIO: how many times as fast as the registry's. "
)
_STARTED = (
    "RUN: from the pod's getting its node until its command is started, as Kubernetes keeps it, in whole seconds."
)
_NOT_STARTED = (
    "RUN: from the pod's getting its node until the runtime has the container and would start its command, in whole "
    "seconds; nothing of the image was run (--run starts it)."
)


def bench_view(report: BenchReport) -> View:
    """REPORT in every form."""
    return View(
        document=bench_document(report),
        items="pools",
        table=Table(_COLUMNS, tuple(_row(pool) for pool in report.pools)),
        names=tuple(f"pool/{neutral(pool.facts.name)}" for pool in report.pools),
        notes=lambda screen: _notes(report, screen),
        empty="Nothing was measured.",
    )


def facts_line(facts: PoolFacts) -> str:
    """`web: n2-standard-8, pd-balanced 100 GB, europe-west4-a, 2 parallel pulls, cache disk web-2026-01`."""
    disk = f"{facts.disk_type or 'boot disk unknown'}{f' {facts.disk_gb} GB' if facts.disk_gb else ''}"
    parts = [facts.machine_type or "machine type unknown", disk]
    if facts.local_ssds:
        parts.append(f"images on {count(facts.local_ssds, 'local SSD')}")
    parts.append(", ".join(facts.zones) or "zone unknown")
    if facts.known_from == "gke":
        parts.append(f"{pulls_text(facts)} parallel pulls")
    if facts.version:
        parts.append(facts.version)
    parts.append(_way(facts))
    return neutral(f"{facts.name}: {', '.join(parts)}")


def difference_line(difference: Difference) -> str:
    """`boot disk size: a has 100 GB, b has 200 GB`."""
    return neutral(f"{difference.what}: " + ", ".join(f"{pool} has {value}" for pool, value in difference.values))


def _way(facts: PoolFacts) -> str:
    if facts.cache_disk:
        return f"cache disk {facts.cache_disk.rpartition('/')[2]}"
    return {True: "image streaming", False: "registry only", None: "way unknown"}[facts.streaming]


def _row(pool: PoolResult) -> tuple[Cell, ...]:
    method = pool.method.value if pool.method else ""
    sure = " (inferred)" if pool.sure is Sureness.INFERRED else ""
    ratio = pool.ratio_later if pool.ratio_later is not None else pool.ratio_first
    pulls = str(pool.pulls) if pool.pulls == pool.wanted else f"{pool.pulls} of {pool.wanted}"
    spread = pool.later
    return (
        cell(pool.facts.name),
        Cell(neutral(method + sure) or "-", method),
        Cell(pulls, pool.pulls, "" if pool.pulls == pool.wanted else "warn"),
        _time(pool.first),
        _time(pool.later),
        Cell(
            f"{seconds(spread.least)} – {seconds(spread.most)}" if spread and spread.count > 1 else "-",
            f"{spread.least:.6g}-{spread.most:.6g}" if spread and spread.count > 1 else None,
        ),
        Cell("-" if ratio is None else times(ratio, 1.0), ratio),
        _whole(pool.running_first),
        _whole(pool.running_later),
        Cell(gib(pool.size) if pool.size is not None else "-", pool.size),
    )


def _time(stat: Stat | None) -> Cell:
    return Cell("-", None) if stat is None else Cell(seconds(stat.median), round(stat.median, 6))


def _whole(stat: Stat | None) -> Cell:
    return Cell("-", None) if stat is None else Cell(f"{stat.median:.0f}s", round(stat.median, 6))


def _notes(report: BenchReport, screen: Screen) -> list[str]:
    lines: list[str] = []
    for title, items in (
        ("What stands out:", list(_findings(report))),
        ("What was not measured:", list(_missing(report))),
        ("The pools:", [facts_line(pool.facts) for pool in report.pools]),
    ):
        if items:
            lines += ["", paint(title, "bold") if screen.colour else title]
            for item in items:
                lines += wrapped(item, "  - ", "    ", screen.cells)
    legend = _LEGEND + (_NOT_STARTED if report.plan.command == NO_COMMAND else _STARTED)
    return [*lines, "", *wrapped(legend, "", "", screen.cells)]


def _findings(report: BenchReport) -> Iterator[str]:
    base = next((pool for pool in report.pools if pool.facts.name == report.baseline), None)
    for pool in report.pools:
        if base is None or pool is base:
            continue
        for which, mine, theirs in (("first", pool.first, base.first), ("later", pool.later, base.later)):
            if mine is not None and theirs is not None and mine.median and theirs.median:
                yield neutral(f"{pool.facts.name}, {which} pull: {_compared(mine, theirs)} on {base.facts.name}.")
    if base is None and any(pool.pulls for pool in report.pools):
        yield "No pool pulled from the registry, so there is nothing that times are the ratio to."
    for difference in report.differences:
        yield f"The pools differ in more than the way: {difference_line(difference)}."


def _compared(mine: Stat, theirs: Stat) -> str:
    slow, fast = max(mine.median, theirs.median), min(mine.median, theirs.median)
    ratio = times(slow, fast)
    words = f"{ratio} as fast as" if mine.median < theirs.median else ratio
    if slow / fast < 1.1:
        words = "as fast as"
    return f"{seconds(mine.median)}, {words} the {seconds(theirs.median)}"


def _missing(report: BenchReport) -> Iterator[str]:
    if report.ended:
        yield neutral(f"The bench ended early: {report.ended}.")
    for pool in report.pools:
        name = pool.facts.name
        had = [one.node for one in pool.skipped if one.found is Found.PRESENT]
        if had:
            yield neutral(f"{name}: {_list(had)} had the image already: skipped, and not counted as a pull.")
        other: dict[str, list[str]] = {}
        for one in pool.skipped:
            if one.found is not Found.PRESENT:
                other.setdefault(one.why, []).append(one.node or "no node")
        for why, nodes in other.items():
            yield neutral(f"{name}: {_list(nodes)}: {why}.")
        if pool.pulls < pool.wanted and not pool.given_up and not report.ended:
            more = count(pool.wanted - pool.pulls, "more fresh node")
            hint = "" if report.plan.scale_up else "; --scale-up lets the autoscaler bring some"
            yield neutral(f"{name}: {pool.pulls} of {pool.wanted} pulls; it would take {more}{hint}.")
        if pool.kin:
            yield neutral(f"{name}: {pool.kin} of its nodes had another image of the repository, so common layers too.")
        if pool.retried:
            yield neutral(f"{name}: {count(pool.retried, 'pull')} came after failures; the time is the last try's.")


def _list(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{count(len(names), 'node')} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
