"""The answer of `diff`: what to add to, drop from and change on each pool's cache disk, line by line."""

from __future__ import annotations

from dataclasses import replace

from kubectl_imagecache.core.report import StatusReport
from kubectl_imagecache.render.difference import SIGNS, Change, ChangeKind, changes
from kubectl_imagecache.render.documents import diff_document
from kubectl_imagecache.render.images import unknown_notes
from kubectl_imagecache.render.screen import Screen
from kubectl_imagecache.render.table import Cell, Column, Table, cell, number
from kubectl_imagecache.render.text import cut, gib, hexes, neutral, width
from kubectl_imagecache.render.view import View

_STYLES = {
    ChangeKind.ADD: "good",
    ChangeKind.DROP: "bad",
    ChangeKind.CHANGE: "warn",
    ChangeKind.UNKNOWN: "odd",
    ChangeKind.KEEP: "dim",
    ChangeKind.IGNORE: "dim",
}
_QUIET = (ChangeKind.KEEP, ChangeKind.IGNORE)
_COLUMNS = (
    Column("IMAGE", "image", least=22, keep_end=True),
    Column("CHANGE", "from_to", least=18, drop=1),
    Column("SIZE", "compressed_bytes", right=True),
    Column("TO PULL", "missing_bytes", right=True, drop=2),
    Column("PODS", "pods", right=True),
    Column("NODES", "nodes", right=True, drop=3),
)
_SIGN = Column("", "change")
_POOL = Column("POOL", "pool", least=12)
_LAYERS = Column("LAYERS", "layers_cached", drop=4)


def diff_view(report: StatusReport, *, everything: bool, layers: bool) -> View:
    """REPORT's differences in every form; with EVERYTHING what stays as it is too, with LAYERS layer by layer."""
    found = [change for status in report.pools for change in changes(status)]
    shown = [change for change in found if everything or change.kind not in _QUIET]
    pool = replace(_POOL, wide=len({change.pool for change in shown}) < 2)
    columns = (_SIGN, pool, *_COLUMNS, *((_LAYERS,) if layers else ()))
    return View(
        document=diff_document(report, shown, layers),
        items="items",
        table=Table(columns, tuple(_row(change, layers) for change in shown)),
        names=tuple(dict.fromkeys(f"image/{change.ref}" for change in shown)),
        notes=lambda screen: [
            *_layer_lines(shown if layers else [], screen),
            *_summary(found),
            *unknown_notes(report, screen),
        ],
        empty="No differences.",
    )


def _row(change: Change, layers: bool) -> tuple[Cell, ...]:
    match, style = change.match, _STYLES[change.kind]
    fromto = _from_to(change)
    row = (
        Cell(SIGNS[change.kind], change.kind.value, style),
        cell(change.pool),
        Cell(neutral(change.ref.familiar), str(change.ref), style),
        Cell(fromto or "-", f"{change.old} -> {change.new}" if fromto else ""),
        Cell("-" if change.compressed is None else gib(change.compressed), change.compressed),
        Cell("-" if not change.missing else gib(change.missing), change.missing),
        number(match.use.pods if match else 0),
        number(match.use.nodes if match else 0),
    )
    if not layers:
        return row
    known = match is not None and match.layers is not None
    text = f"{match.layers_cached}/{match.layers} cached" if match and known else "-"
    return (*row, Cell(text, match.layers_cached if match else None))


def _from_to(change: Change) -> str:
    if change.kind is not ChangeKind.CHANGE:
        return ""
    return f"{_version(change.old)} -> {_version(change.new)}"


def _version(text: str) -> str:
    return hexes(text)[:7] if ":" in text else neutral(text)


def _layer_lines(shown: list[Change], screen: Screen) -> list[str]:
    lines: list[str] = []
    for change in shown:
        if change.match is None or not change.match.layer_list or change.kind in _QUIET:
            continue
        sign, image = f"{SIGNS[change.kind]} {neutral(change.pool)}: ", neutral(change.ref.familiar)
        if screen.cells is not None:
            image = cut(image, screen.cells - width(sign), keep_end=True)
        lines += ["", sign + image]
        for layer in change.match.layer_list:
            sign = "=" if layer.chain_id in change.match.cached_chain_ids else "+"
            lines.append(f"  {sign} {hexes(layer.chain_id)}  {gib(layer.compressed)}")
    return lines


def _summary(found: list[Change]) -> list[str]:
    lines = [""] if found else []
    for pool in dict.fromkeys(change.pool for change in found):
        mine = [change for change in found if change.pool == pool]
        number_of = {kind: sum(change.kind is kind for change in mine) for kind in ChangeKind}
        parts = [
            f"{number_of[kind]} to {verb}"
            for kind, verb in ((ChangeKind.ADD, "add"), (ChangeKind.CHANGE, "change"), (ChangeKind.DROP, "drop"))
            if number_of[kind]
        ]
        parts += [f"{number_of[ChangeKind.UNKNOWN]} unknown"] if number_of[ChangeKind.UNKNOWN] else []
        parts += [f"{number_of[ChangeKind.IGNORE]} ignored"] if number_of[ChangeKind.IGNORE] else []
        parts += [f"{number_of[ChangeKind.KEEP]} kept"] if number_of[ChangeKind.KEEP] else []
        lines.append(f"{neutral(pool)}: {', '.join(parts)}.")
    return lines
