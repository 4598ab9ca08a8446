"""A command's answer in every form it can be printed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kubectl_imagecache.render.documents import Document
from kubectl_imagecache.render.screen import Screen
from kubectl_imagecache.render.table import Table


@dataclass(frozen=True, slots=True)
class View:
    """What output.write turns into text."""

    document: Document
    """For json, yaml and jsonpath."""
    items: str
    """The document's key whose list custom-columns prints, row by row."""
    table: Table
    """For table, wide, csv and markdown."""
    names: tuple[str, ...]
    """For name: `TYPE/NAME`."""
    notes: Callable[[Screen], list[str]]
    """Lines under the table, for people only."""
    empty: str
    """Said instead of a table without rows."""
