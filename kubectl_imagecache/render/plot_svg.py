"""A picture as SVG: on its own white ground for files, or in the colours of the page around it."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from kubectl_imagecache.render.plot import Box, Line, Mark, Picture, Shape, Text

INKS = {
    "text": "#1b1b1b",
    "quiet": "#595959",
    "axis": "#595959",
    "grid": "#dddddd",
    "median": "#1b1b1b",
    "box": "#e9e9e9",
    "registry": "#d55e00",
    "streaming": "#0072b2",
    "disk": "#009e73",
    "store": "#8a5a8a",
}
"""Colours on white."""
DARK_INKS = {
    "text": "#ececec",
    "quiet": "#b4b4b4",
    "axis": "#9a9a9a",
    "grid": "#3a3a3a",
    "median": "#ffffff",
    "box": "#333333",
    "registry": "#ff8c42",
    "streaming": "#56b4e9",
    "disk": "#2fd3a4",
    "store": "#cc9fcc",
}
"""Colours on black."""
RADIUS = 4.5
_Ink = Callable[[str], str]
_FONT = "system-ui, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


def svg(picture: Picture, themed: bool = False) -> str:
    """PICTURE as an SVG document; THEMED takes the colours from the page's variables (`--registry`, …)."""
    ink: _Ink = (lambda name: f"var(--{name})") if themed else INKS.__getitem__
    ground = "" if themed else f'<rect width="{picture.width}" height="{picture.height}" fill="#ffffff"/>'
    body = "\n".join(_shape(shape, ink) for shape in picture.shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {picture.width} {picture.height}" '
        f'width="{picture.width}" height="{picture.height}" font-family="{_FONT}">\n'
        f"<title>{clean(picture.title)}</title>\n<desc>{clean(picture.about)}</desc>\n{ground}\n{body}\n</svg>\n"
    )


def clean(text: str) -> str:
    """TEXT as it may stand in XML and HTML, in attributes too: escaped, without what XML forbids altogether."""
    allowed = "".join(
        c if c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff" else "�" for c in text
    )
    return escape(allowed, quote=True)


def _shape(shape: Shape, ink: _Ink) -> str:
    if isinstance(shape, Line):
        width = 2 if shape.ink == "median" else 1
        place = f'x1="{_n(shape.x1)}" y1="{_n(shape.y1)}" x2="{_n(shape.x2)}" y2="{_n(shape.y2)}"'
        return f'<line {place} style="stroke:{ink(shape.ink)};stroke-width:{width}"/>'
    if isinstance(shape, Box):
        size = f'width="{_n(shape.width)}" height="{_n(shape.height)}"'
        return f'<rect x="{_n(shape.x)}" y="{_n(shape.y)}" {size} rx="3" style="fill:{ink(shape.ink)}"/>'
    if isinstance(shape, Text):
        weight = ' font-weight="600"' if shape.bold else ""
        place = f'x="{_n(shape.x)}" y="{_n(shape.y)}" font-size="{shape.size}" text-anchor="{shape.anchor}"{weight}'
        return f'<text {place} style="fill:{ink(shape.ink)}">{clean(shape.text)}</text>'
    return _mark(shape, ink)


def _mark(mark: Mark, ink: _Ink) -> str:
    colour = ink(mark.ink)
    style = f"fill:none;stroke:{colour};stroke-width:1.8" if mark.hollow else f"fill:{colour};fill-opacity:0.75"
    title = f"<title>{clean(mark.title)}</title>" if mark.title else ""
    if mark.shape == "circle":
        return f'<circle cx="{_n(mark.x)}" cy="{_n(mark.y)}" r="{RADIUS}" style="{style}">{title}</circle>'
    corners = " ".join(f"{_n(x)},{_n(y)}" for x, y in outline(mark))
    return f'<polygon points="{corners}" style="{style}">{title}</polygon>'


def outline(mark: Mark) -> list[tuple[float, float]]:
    """The corners of a MARK that is no circle, of about a circle's size."""
    x, y, r = mark.x, mark.y, RADIUS
    if mark.shape == "triangle":
        return [(x, y - 1.2 * r), (x + 1.1 * r, y + 0.8 * r), (x - 1.1 * r, y + 0.8 * r)]
    if mark.shape == "square":
        side = 0.88 * r
        return [(x - side, y - side), (x + side, y - side), (x + side, y + side), (x - side, y + side)]
    return [(x, y - 1.25 * r), (x + 1.25 * r, y), (x, y + 1.25 * r), (x - 1.25 * r, y)]


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
