"""A picture as PNG, drawn with Pillow, which the extra `png` installs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from kubectl_imagecache.core.errors import UserError
from kubectl_imagecache.render.plot import Box, Line, Mark, Picture, Shape, Text
from kubectl_imagecache.render.plot_svg import INKS, RADIUS, outline

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

SCALE = 2
"""Pixels for each of the picture's units."""
_FINE = 2
"""Drawn this many times as large and then reduced, for smooth edges."""
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def png(picture: Picture) -> bytes:
    """PICTURE as a PNG file; raise UserError if Pillow is not installed."""
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        hint = "pip install 'kubectl-imagecache[png]', or write SVG: --plot=FILE.svg"
        raise UserError("PNG needs Pillow, which is not installed", hint) from error
    size = picture.width * SCALE * _FINE, picture.height * SCALE * _FINE
    canvas = Image.new("RGB", size, "#ffffff")
    draw = ImageDraw.Draw(canvas)
    fonts: dict[int, FreeTypeFont | ImageFont] = {}
    for shape in picture.shapes:
        if not isinstance(shape, Text):
            _draw(draw, shape)
    small = canvas.resize((picture.width * SCALE, picture.height * SCALE), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(small)
    for shape in picture.shapes:
        if isinstance(shape, Text):
            _write(draw, shape, fonts)
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return file.getvalue()


def _write(draw: ImageDraw, text: Text, fonts: dict[int, FreeTypeFont | ImageFont]) -> None:
    from PIL import ImageFont

    if text.size not in fonts:
        fonts[text.size] = ImageFont.load_default(text.size * SCALE)
    place = text.x * SCALE, text.y * SCALE
    stroke = 1 if text.bold else 0
    ink = INKS[text.ink]
    # The built-in font has Latin letters only.
    words = text.text.encode("latin-1", "replace").decode("latin-1")
    draw.text(place, words, fill=ink, font=fonts[text.size], anchor=_ANCHORS[text.anchor], stroke_width=stroke // 2)
    if text.bold:
        draw.text((place[0] + 0.6, place[1]), words, fill=ink, font=fonts[text.size], anchor=_ANCHORS[text.anchor])


def _draw(draw: ImageDraw, shape: Shape) -> None:
    k = SCALE * _FINE
    if isinstance(shape, Line):
        width = (2 if shape.ink == "median" else 1) * k
        draw.line((shape.x1 * k, shape.y1 * k, shape.x2 * k, shape.y2 * k), fill=INKS[shape.ink], width=width)
    elif isinstance(shape, Box):
        corner = (shape.x + shape.width) * k, (shape.y + shape.height) * k
        draw.rounded_rectangle((shape.x * k, shape.y * k, *corner), radius=3 * k, fill=INKS[shape.ink])
    elif isinstance(shape, Mark):
        _mark(draw, shape, k)


def _mark(draw: ImageDraw, mark: Mark, k: int) -> None:
    ink = INKS[mark.ink]
    if mark.shape == "circle":
        box = tuple(v * k for v in (mark.x - RADIUS, mark.y - RADIUS, mark.x + RADIUS, mark.y + RADIUS))
        if mark.hollow:
            draw.ellipse(box, outline=ink, width=round(1.8 * k))
        else:
            draw.ellipse(box, fill=ink)
        return
    corners = [(x * k, y * k) for x, y in outline(mark)]
    if mark.hollow:
        draw.line([*corners, corners[0], corners[1]], fill=ink, width=round(1.8 * k), joint="curve")
    else:
        draw.polygon(corners, fill=ink)
