"""How and where output is shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Screen:
    """The facts about the reader's side."""

    cells: int | None = None
    """Width of the terminal; None is no limit (a pipe)."""
    colour: bool = False
    headers: bool = True
    wide: bool = False
    """Show every column and every reason."""
    program: str = "kubectl imagecache"
    """What the user types."""
