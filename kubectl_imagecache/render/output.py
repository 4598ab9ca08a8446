"""Turns a view into text, in the format that -o names."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.render.formats import FORMATS
from kubectl_imagecache.render.screen import Screen
from kubectl_imagecache.render.table import Column, Table, cell, lay_out
from kubectl_imagecache.render.text import neutral
from kubectl_imagecache.render.view import View

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MARKDOWN = re.compile(r"([\\`*_<>\[\]|#~])")


def check_format(text: str) -> None:
    """Raise BadUsage unless TEXT is a format, its template included."""
    name, _, template = text.partition("=")
    if name == "jsonpath":
        _jsonpath(_needed(text, template), {})
    elif name == "custom-columns":
        _custom_columns(_needed(text, template))
    elif text not in FORMATS or text.endswith("="):
        choices = ", ".join(word + ("…" if word.endswith("=") else "") for word in FORMATS)
        raise BadUsage(f"unknown output format {text!r}", f"one of {choices}")


def write(view: View, output: str, screen: Screen) -> str:
    """VIEW as text in the format OUTPUT; raise BadUsage if there is no such format."""
    check_format(output)
    name, _, template = output.partition("=")
    match name:
        case "json":
            return json.dumps(view.document, indent=2, ensure_ascii=True) + "\n"
        case "yaml":
            return _yaml(view.document)
        case "name":
            return "".join(f"{neutral(line)}\n" for line in view.names)
        case "jsonpath":
            return _jsonpath(template, view.document)
        case "custom-columns":
            return _lines(_custom(view, template), screen, notes=False)
        case "csv":
            return _csv(view.table, screen)
        case "markdown":
            return _markdown(view.table, screen)
        case _:
            return _lines(view.table, screen, notes=screen.headers, view=view)


def _lines(table: Table, screen: Screen, notes: bool, view: View | None = None) -> str:
    cells = None if screen.wide or view is None else screen.cells
    lines = lay_out(table, cells, wide=screen.wide, headers=screen.headers, colour=screen.colour)
    if view is not None and not table.rows:
        lines = [view.empty] if screen.headers else []
    if view is not None and notes:
        lines += view.notes(screen)
    return "".join(f"{line}\n" for line in lines)


def _needed(output: str, template: str) -> str:
    if not template:
        example = "jsonpath='{.pools[*].name}'" if output.startswith("jsonpath") else "custom-columns=POOL:.name"
        raise BadUsage(f"{output.rstrip('=')} needs a template", f"such as -o {example}")
    return template


def _jsonpath(template: str, document: dict[str, Any]) -> str:
    from kubectl_imagecache.render import jsonpath  # its grammar takes a while to compile

    return jsonpath.render(template, document)


def _yaml(document: dict[str, Any]) -> str:
    import yaml  # only here: it takes 20 ms

    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=False, width=120))


def _custom_columns(spec: str) -> list[tuple[str, Any]]:
    from kubectl_imagecache.render.jsonpath import parse_path

    columns = []
    for part in re.split(r",(?![^\[]*\])", spec):
        title, colon, path = part.partition(":")
        if not colon or not title or not path:
            raise BadUsage(f"bad custom column {part!r}", "write HEADER:.path, such as POOL:.name,STATE:.state")
        columns.append((title, parse_path(path)))
    return columns


def _custom(view: View, spec: str) -> Table:
    from kubectl_imagecache.render.jsonpath import as_text

    columns = _custom_columns(spec)
    rows = []
    for item in view.document[view.items]:
        found = [path.find(item, item) for _, path in columns]
        texts = [",".join("<none>" if value is None else as_text(value) for value in values) for values in found]
        rows.append(tuple(cell(text or "<none>") for text in texts))
    return Table(tuple(Column(neutral(title), title) for title, _ in columns), tuple(rows))


def _csv(table: Table, screen: Screen) -> str:
    """Raw values; a text that a spreadsheet takes for a formula gets an apostrophe before it (OWASP: CSV injection)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if screen.headers:
        writer.writerow(column.key for column in table.columns)
    writer.writerows([_guarded(value.value) for value in row] for row in table.rows)
    return text.getvalue()


def _guarded(value: str | int | float | None) -> str | int | float:
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    text = neutral(value)
    return f"'{text}" if value.startswith(_FORMULA) or text.startswith(_FORMULA) else text


def _markdown(table: Table, screen: Screen) -> str:
    rows = [[_MARKDOWN.sub(r"\\\1", value.text) for value in row] for row in table.rows]
    head = [column.title for column in table.columns]
    lines = [head, ["---:" if column.right else "---" for column in table.columns], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in (lines if screen.headers else rows))
