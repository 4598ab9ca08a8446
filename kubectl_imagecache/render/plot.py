"""A picture of pulls: a strip a method (or pool) with every pull as a point on a logarithmic axis of time."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kubectl_imagecache.core.pull_methods import Judged, Method, Turn
from kubectl_imagecache.core.pull_report import PullReport
from kubectl_imagecache.core.pull_stats import By, spread
from kubectl_imagecache.render.pull_words import seconds
from kubectl_imagecache.render.text import count, cut, neutral

WIDTH = 920
"""Of a picture, in its own units (pixels on an ordinary screen)."""
MOST_POINTS = 4000
"""Points drawn of one strip; of more pulls an even choice is drawn, and said."""
MOST_STRIPS = 12
LEAST_FOR_BOX = 8
"""Of fewer pulls the middle half is not drawn: it would say less than the points do."""
SHORTEST_S = 0.01
"""What is faster is drawn here: no pull is told more finely than in milliseconds."""
_LEFT, _RIGHT, _TOP, _STRIP, _BOTTOM = 210, 40, 78, 74, 84
# Okabe and Ito's colours, which people with any kind of colour blindness can tell apart; each way has its own shape
# too, for print in grey (https://jfly.uni-koeln.de/color/).
WAYS = {
    Method.REGISTRY: ("registry", "circle"),
    Method.STREAMING: ("streaming", "triangle"),
    Method.CACHE_DISK: ("disk", "square"),
    Method.NODE_STORE: ("store", "diamond"),
}
"""Method -> key of its colour, shape of its points."""


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line."""

    x1: float
    y1: float
    x2: float
    y2: float
    ink: str
    """`axis`, `grid`, `median`."""


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    ink: str


@dataclass(frozen=True, slots=True)
class Mark:
    """One pull."""

    x: float
    y: float
    shape: str
    """`circle`, `triangle`, `square`, `diamond`."""
    ink: str
    hollow: bool
    """Of a first pull."""
    title: str
    """Said when one points at it; neutral."""


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text; Y is its base line."""

    x: float
    y: float
    text: str
    size: int
    anchor: str = "start"
    """`start`, `middle`, `end`."""
    ink: str = "text"
    bold: bool = False


Shape = Line | Box | Mark | Text


@dataclass(frozen=True, slots=True)
class Picture:
    """Shapes in the order in which they are drawn."""

    width: int
    height: int
    title: str
    about: str
    """For those who can't see it: what it shows, with its figures."""
    shapes: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """A logarithmic axis of time."""

    low: float
    """Seconds."""
    high: float
    left: float
    right: float

    def at(self, value: float) -> float:
        """Where VALUE seconds lie."""
        share = math.log10(max(self.low, min(self.high, value)) / self.low) / math.log10(self.high / self.low)
        return self.left + share * (self.right - self.left)

    def ticks(self) -> list[tuple[float, bool]]:
        """(Seconds, whether it is labelled)."""
        decades = range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)
        labelled = (1, 2, 5) if len(decades) <= 3 else (1,)
        found = []
        for decade in decades:
            for step in range(1, 10):
                value = step * 10.0**decade
                if value <= self.high * 1.0001:
                    found.append((value, step in labelled))
        return found


def axis_for(values: Iterable[float], left: float, right: float) -> Axis:
    """An axis of whole decades around VALUES (seconds)."""
    known = [max(SHORTEST_S, value) for value in values] or [1.0]
    low = 10.0 ** math.floor(math.log10(min(known)) + 1e-9)
    high = 10.0 ** math.ceil(math.log10(max(known)) - 1e-9)
    return Axis(low, high if high > low else low * 10, left, right)


def tick_text(value: float) -> str:
    """`0.1 s`, `10 s`, `1000 s`."""
    return f"{value:g} s"


def strips(report: PullReport, by: By = By.METHOD) -> list[tuple[str, list[Judged]]]:
    """Name and pulls of each strip: methods in their own order, else the keys with most time first."""
    timed = [one for one in report.pulls if one.pull.seconds is not None]
    found: dict[str, list[Judged]] = {method.value: [] for method in WAYS} if by is By.METHOD else {}
    for one in timed:
        key = one.method.value if by is By.METHOD else one.pool or "(unknown)"
        found.setdefault(key, []).append(one)
    named = [(key, pulls) for key, pulls in found.items() if pulls]
    if by is not By.METHOD:
        named.sort(key=lambda item: (-sum(one.pull.seconds or 0.0 for one in item[1]), item[0]))
    return named[:MOST_STRIPS]


def picture(report: PullReport, by: By = By.METHOD) -> Picture:
    """REPORT's pulls as a picture, a strip for each method (or, by POOL, each pool)."""
    rows = strips(report, by)
    axis = axis_for([one.pull.seconds or 0.0 for _, pulls in rows for one in pulls], _LEFT, WIDTH - _RIGHT)
    bottom = _TOP + _STRIP * max(1, len(rows))
    title = f"How long image pulls take, by {by.value}"
    total = sum(len(pulls) for _, pulls in rows)
    where = report.origin.cluster.rpartition("/")[2] or report.origin.context or report.origin.source
    when = f"{report.origin.observed_at:%Y-%m-%d %H:%M} UTC"
    lead = f"{count(total, 'pull')} on {cut(neutral(where), 60)}, {when}. Each point is one pull."
    shapes: list[Shape] = [Text(16, 28, title, 18, bold=True), Text(16, 50, lead, 13, ink="quiet")]
    shapes += _axis(axis, bottom)
    for number, (name, pulls) in enumerate(rows):
        shapes += _strip(name, pulls, axis, _TOP + _STRIP * number)
    if not rows:
        shapes.append(Text((_LEFT + WIDTH - _RIGHT) / 2, _TOP + _STRIP / 2, "No pulls were seen.", 13, "middle"))
    boxed = any(len(pulls) >= LEAST_FOR_BOX for _, pulls in rows)
    shapes += _legend(bottom + 62, {one.method for _, pulls in rows for one in pulls}, boxed)
    return Picture(WIDTH, bottom + _BOTTOM, title, _about(title, rows), tuple(shapes))


def _about(title: str, rows: Sequence[tuple[str, list[Judged]]]) -> str:
    parts = [f"{neutral(name)}: {_summary(pulls)}" for name, pulls in rows]
    return f"{title}. {'; '.join(parts) or 'No pulls were seen'}."


def _summary(pulls: Sequence[Judged]) -> str:
    found = spread([one.pull.seconds or 0.0 for one in pulls])
    middle = f", median {seconds(found.p50)}" if found else ""
    return f"{count(len(pulls), 'pull')}{middle}"


def _axis(axis: Axis, bottom: float) -> list[Shape]:
    shapes: list[Shape] = []
    for value, labelled in axis.ticks():
        x = axis.at(value)
        whole = value == axis.low or value == axis.high or math.isclose(math.log10(value) % 1, 0, abs_tol=1e-9)
        if labelled or whole:
            shapes.append(Line(x, _TOP, x, bottom + 6, "grid"))
            shapes.append(Text(x, bottom + 22, tick_text(value), 12, "middle"))
        else:
            shapes.append(Line(x, bottom, x, bottom + 4, "axis"))
    shapes.append(Line(axis.left, bottom, axis.right, bottom, "axis"))
    label = "seconds from the kubelet's asking until the image is there (logarithmic)"
    shapes.append(Text((axis.left + axis.right) / 2, bottom + 40, label, 12, "middle", "quiet"))
    return shapes


def _strip(name: str, pulls: list[Judged], axis: Axis, top: float) -> list[Shape]:
    middle = top + _STRIP / 2
    shown = cut(neutral(name), 28)
    shapes: list[Shape] = [
        Text(_LEFT - 16, middle - 3, shown, 14, "end", bold=True),
        Text(_LEFT - 16, middle + 15, _summary(pulls), 12, "end", "quiet"),
    ]
    values = sorted(one.pull.seconds or 0.0 for one in pulls)
    if len(values) >= LEAST_FOR_BOX:
        low, high = values[len(values) // 4], values[(3 * len(values)) // 4]
        x = axis.at(low)
        shapes.append(Box(x, middle - 22, max(1.0, axis.at(high) - x), 44, "box"))
    shapes += [_mark(one, axis, middle) for one in thinned(pulls)]
    if (found := spread(values)) is not None:
        x = axis.at(found.p50)
        shapes.append(Line(x, middle - 26, x, middle + 26, "median"))
    if len(pulls) > MOST_POINTS:
        shapes.append(Text(WIDTH - _RIGHT, top + 12, f"{MOST_POINTS:,} of them drawn", 11, "end", "quiet"))
    return shapes


def thinned(pulls: list[Judged]) -> list[Judged]:
    """At most MOST_POINTS of PULLS, evenly by their time, the fastest and the slowest among them."""
    if len(pulls) <= MOST_POINTS:
        return pulls
    ordered = sorted(pulls, key=lambda one: one.pull.seconds or 0.0)
    return [ordered[n * (len(ordered) - 1) // (MOST_POINTS - 1)] for n in range(MOST_POINTS)]


def _mark(one: Judged, axis: Axis, middle: float) -> Mark:
    ink, shape = WAYS[one.method]
    pull = one.pull
    value = pull.seconds or 0.0
    # Points of like times would cover each other: each is moved up or down by what its names hash to.
    place = zlib.crc32(f"{pull.pod}/{pull.container}/{pull.node}/{pull.ended}".encode("utf-8", "replace")) % 1000
    title = f"{seconds(value)}, {one.method.value}, {cut(pull.image, 80)} on {pull.node}"
    return Mark(
        round(axis.at(value), 1), round(middle + (place / 999 - 0.5) * 40, 1), shape, ink, one.turn is Turn.FIRST,
        neutral(title),
    )  # fmt: skip


def _legend(y: float, used: Iterable[Method], boxed: bool) -> list[Shape]:
    shapes: list[Shape] = []
    x = 24.0
    there = set(used)
    for method, (ink, shape) in WAYS.items():
        if method in there:
            shapes += [Mark(x, y - 4, shape, ink, False, ""), Text(x + 12, y, method.value, 12)]
            x += 40 + 7.2 * len(method.value)
    if there:
        words = "hollow: the first pull of an image on its pool"
        shapes += [Mark(x, y - 4, "circle", "text", True, ""), Text(x + 12, y, words, 12, ink="quiet")]
        x += 40 + 6.4 * len(words)
        shapes += [Line(x, y - 12, x, y + 3, "median"), Text(x + 8, y, "median", 12, ink="quiet")]
    if there and boxed:
        shapes += [Box(x + 66, y - 12, 14, 15, "box"), Text(x + 86, y, "middle half", 12, ink="quiet")]
    return shapes
