"""The answer of `disks list`: what builds have made, and what of it is orphaned."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kubectl_imagecache.core.traces import Trace
from kubectl_imagecache.render.documents import API_VERSION, time
from kubectl_imagecache.render.screen import Screen
from kubectl_imagecache.render.table import Cell, Column, Table, cell
from kubectl_imagecache.render.text import age, count
from kubectl_imagecache.render.view import View

_COLUMNS = (
    Column("BUILD", "build", least=20),
    Column("KIND", "kind"),
    Column("NAME", "name", least=20, keep_end=True),
    Column("ZONE", "zone", drop=2),
    Column("STATE", "state"),
    Column("AGE", "created", right=True, drop=1),
    Column("ORPHAN", "orphan"),
)


def traces_view(traces: Sequence[Trace], orphans: Sequence[str], now: datetime, project: str) -> View:
    """TRACES in every form; ORPHANS are the builds that a sweep would remove."""
    left = [t for t in traces if t.build in orphans and not t.lasting]
    return View(
        document={
            "apiVersion": API_VERSION,
            "kind": "BuildTraceList",
            "project": project,
            "items": [
                {
                    "build": t.build,
                    "kind": t.kind.value,
                    "name": t.name,
                    "zone": t.zone,
                    "state": t.state,
                    "createdAt": time(t.created),
                    "orphan": t in left,
                }
                for t in traces
            ],
        },
        items="items",
        table=Table(_COLUMNS, tuple(_row(t, t in left, now) for t in traces)),
        names=tuple(f"{t.kind.value}/{t.name}" for t in traces),
        notes=lambda screen: _notes(left, screen),
        empty="No build has left anything here.",
    )


def _row(trace: Trace, orphan: bool, now: datetime) -> tuple[Cell, ...]:
    return (
        cell(trace.build),
        cell(trace.kind.value),
        cell(trace.name),
        cell(trace.zone),
        cell(trace.state),
        Cell(age(trace.created, now), time(trace.created)),
        Cell("yes" if orphan else "-", orphan, "warn" if orphan else ""),
    )


def _notes(left: Sequence[Trace], screen: Screen) -> list[str]:
    if not left:
        return []
    it = "it" if len(left) == 1 else "them"
    return ["", f"{count(len(left), 'orphan')}: `{screen.program} disks sweep --yes` removes {it}."]
