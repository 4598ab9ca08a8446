"""A picture of pulls in the terminal: a line a method, higher where more pulls took that long."""

from __future__ import annotations

import math

from kubectl_imagecache.core.pull_methods import Judged, Method
from kubectl_imagecache.core.pull_report import PullReport
from kubectl_imagecache.core.pull_stats import spread
from kubectl_imagecache.render.plot import Axis, axis_for, strips
from kubectl_imagecache.render.pull_words import seconds
from kubectl_imagecache.render.screen import Screen
from kubectl_imagecache.render.table import paint

_BARS = "▁▂▃▄▅▆▇█"
_STYLES = {Method.REGISTRY: "bad", Method.STREAMING: "warn", Method.CACHE_DISK: "good", Method.NODE_STORE: "odd"}
_LABEL = max(len(method.value) for method in Method)
_TAIL = 26
_LEAST = 24


def draw(report: PullReport, screen: Screen) -> list[str]:
    """REPORT's pulls, by method, in as many cells as SCREEN has (100 in a pipe)."""
    rows = strips(report)
    if not rows:
        return ["No pulls to draw."]
    width = max(_LEAST, min(screen.cells or 100, 140) - _LABEL - _TAIL - 4)
    axis = axis_for([one.pull.seconds or 0.0 for _, pulls in rows for one in pulls], 0, width - 1)
    lines = ["Seconds until the image is there, every pull (logarithmic):"]
    for name, pulls in rows:
        found = spread([one.pull.seconds or 0.0 for one in pulls])
        middle = f"p50 {seconds(found.p50)}" if found else ""
        bars = _bars(pulls, axis, width)
        if screen.colour:
            bars = paint(bars, _STYLES[pulls[0].method])
        lines.append(f"{name:>{_LABEL}} │{bars}│ {len(pulls):,} × {middle}")
    return [*lines, *_axis(axis, width)]


def _bars(pulls: list[Judged], axis: Axis, width: int) -> str:
    counts = [0] * width
    for one in pulls:
        counts[round(axis.at(one.pull.seconds or 0.0))] += 1
    most = max(counts)
    # By the square root: a single pull beside a thousand must still show.
    return "".join(_BARS[max(0, math.ceil(math.sqrt(n / most) * len(_BARS)) - 1)] if n else " " for n in counts)


def _axis(axis: Axis, width: int) -> list[str]:
    rule, words = ["─"] * width, [" "] * (width + 8)
    free_from = 0
    for value, labelled in axis.ticks():
        at = round(axis.at(value))
        if not labelled:
            continue
        rule[at] = "┴"
        text = f"{value:g}s"
        begin = max(0, min(width + 8 - len(text), at - len(text) // 2))
        if begin >= free_from:
            words[begin : begin + len(text)] = text
            free_from = begin + len(text) + 1
    return [f"{'':>{_LABEL}} └{''.join(rule)}┘", f"{'':>{_LABEL}}  {''.join(words).rstrip()}"]
