"""One table for people: cells with a text and a value, laid out in the width there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kubectl_imagecache.render.text import cut, neutral, width

STYLES = {
    "good": "\x1b[32m",
    "warn": "\x1b[33m",
    "bad": "\x1b[31m",
    "odd": "\x1b[35m",
    "dim": "\x1b[2m",
    "bold": "\x1b[1m",
}
_ROOMY = 120
"""Below this many cells columns stand closer together."""
_RESET = "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell."""

    text: str
    """For people; neutral."""
    value: str | int | float | None
    """For csv: the raw value, in the unit of the column's `unit`."""
    style: str = ""
    """A key of STYLES, or empty."""
    tail: str = ""
    """More text for people, that stays when `text` must be cut."""


def cell(text: str, style: str = "") -> Cell:
    """A cell of outside TEXT, made neutral; `-` for people where it is empty."""
    return Cell(neutral(text) or "-", text, style)


def number(value: int) -> Cell:
    """A cell of a plain count."""
    return Cell(str(value), value)


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    title: str
    key: str
    """Its name in csv, with the unit where it has one: `cold_start_s`."""
    wide: bool = False
    """Left out of the ordinary table."""
    least: int = 0
    """Cells it may shrink to; 0: it doesn't shrink."""
    drop: int = 0
    """Where there is no room the highest goes first; 0 stays."""
    right: bool = False
    keep_end: bool = False
    """Cut at the beginning, where the end tells most."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows, each row as long as `columns`."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def lay_out(table: Table, cells: int | None, *, wide: bool, headers: bool, colour: bool) -> list[str]:
    """TABLE as lines of at most CELLS terminal cells (None: any), columns shrunk or dropped as they allow."""
    shown = [i for i, column in enumerate(table.columns) if wide or not column.wide]
    natural = {i: _natural(table, i, headers) for i in shown}
    gap = "  " if cells is not None and cells < _ROOMY else "   "
    shown = _that_fit(table.columns, shown, natural, cells, len(gap))
    widths = _shrunk(table.columns, shown, natural, cells, len(gap))
    lines = []
    if headers:
        titles = [Cell(column.title, column.title, "bold") for column in table.columns]
        lines.append(_line(titles, table.columns, shown, widths, colour, gap))
    lines.extend(_line(row, table.columns, shown, widths, colour, gap) for row in table.rows)
    return lines


def _natural(table: Table, index: int, headers: bool) -> int:
    texts = [row[index].text + row[index].tail for row in table.rows]
    texts += [table.columns[index].title] if headers else []
    return max((width(text) for text in texts), default=0)


def _least(column: Column, natural: int) -> int:
    return min(natural, column.least) if column.least else natural


def _total(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * max(0, len(widths) - 1)


def _that_fit(
    columns: Sequence[Column], shown: Sequence[int], natural: dict[int, int], cells: int | None, gap: int
) -> list[int]:
    left = list(shown)
    while cells is not None and _total([_least(columns[i], natural[i]) for i in left], gap) > cells:
        droppable = [i for i in left if columns[i].drop]
        if not droppable:
            break
        left.remove(max(droppable, key=lambda i: columns[i].drop))
    return left


def _shrunk(
    columns: Sequence[Column], shown: Sequence[int], natural: dict[int, int], cells: int | None, gap: int
) -> dict[int, int]:
    widths = {i: natural[i] for i in shown}
    while cells is not None and (over := _total(list(widths.values()), gap) - cells) > 0:
        slack = {i: w - _least(columns[i], natural[i]) for i, w in widths.items()}
        widest = max(slack, key=lambda i: slack[i], default=None)
        if widest is None or slack[widest] <= 0:
            # Narrower than any sensible table: cut the widest column rather than wrap.
            widest = max(widths, key=lambda i: widths[i])
            if widths[widest] <= 1:
                break
            widths[widest] -= 1
        else:
            widths[widest] -= min(over, max(1, slack[widest] // 4))
    return widths


def _line(
    row: Sequence[Cell], columns: Sequence[Column], shown: Sequence[int], widths: dict[int, int], colour: bool, gap: str
) -> str:
    parts = []
    for i in shown:
        tail = row[i].tail if width(row[i].tail) < widths[i] else ""
        text = cut(row[i].text, widths[i] - width(tail), keep_end=columns[i].keep_end) + tail
        space = " " * (widths[i] - width(text))
        if colour and row[i].style:
            text = paint(text, row[i].style)
        parts.append(space + text if columns[i].right else text + space)
    return gap.join(parts).rstrip()


def paint(text: str, style: str) -> str:
    """TEXT in a style of STYLES, for a terminal."""
    return f"{STYLES[style]}{text}{_RESET}"
