"""Small pieces of text for people: sizes, ages, shares, and outside strings made harmless."""

from __future__ import annotations

import textwrap
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # errors are printed through here: they should not wait for the domain to load
    from datetime import datetime

    from kubectl_imagecache.core.report import Share

GIB = 1024**3
MIB = 1024**2


def neutral(text: str) -> str:
    """TEXT with everything unprintable (controls, escapes, bidi and other format characters) as `\\x1b`-like words."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode("ascii") for c in text)


def width(text: str) -> int:
    """Terminal cells that TEXT (already neutral) takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def cut(text: str, cells: int, *, keep_end: bool = False) -> str:
    """TEXT in at most CELLS terminal cells, with an ellipsis where its end (or its beginning) is left out."""
    if width(text) <= cells:
        return text
    if keep_end:
        kept = text[-cells:] if cells > 0 else ""
        while kept and width(kept) > cells - 1:
            kept = kept[1:]
        return "…" + kept if cells > 0 else ""
    kept = text[:cells]
    while kept and width(kept) > cells - 1:
        kept = kept[:-1]
    return kept.rstrip() + "…" if cells > 0 else ""


def gib(size: int | None) -> str:
    """SIZE in bytes as GiB."""
    if size is None:
        return "size unknown"
    value = size / GIB
    if 0 < value < 0.01:
        return "<0.01 GiB"
    return f"{value:.2f} GiB" if value < 10 else f"{value:.1f} GiB" if value < 100 else f"{value:.0f} GiB"


def mib_per_s(rate: float) -> str:
    """RATE in bytes/s as MiB/s."""
    return f"{rate / MIB:.1f} MiB/s"


def percent(share: Share) -> str:
    """A share as a whole per cent that says 100 and 0 only when it is so; `-` of nothing."""
    if share.ratio is None:
        return "-"
    if 0 < share.part < share.whole:
        return f"{min(99, max(1, round(share.ratio * 100)))}%"
    return f"{round(share.ratio * 100)}%"


def duration(seconds: float) -> str:
    """As kubectl writes ages (k8s.io/apimachinery/pkg/util/duration, HumanDuration)."""
    s = int(seconds)
    if s < 0:
        return "0s"
    minutes, hours, days = s // 60, s // 3600, s // 86400
    if s < 120:
        return f"{s}s"
    if minutes < 10:
        return f"{minutes}m{s % 60}s" if s % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years, rest = divmod(days, 365)
    return f"{years}y{rest}d" if years < 8 and rest else f"{years}y"


def age(then: datetime | None, now: datetime) -> str:
    """How long ago THEN is; `-` if unknown."""
    return duration((now - then).total_seconds()) if then is not None else "-"


def wrapped(text: str, first: str, rest: str, cells: int | None) -> list[str]:
    """TEXT as lines of at most CELLS (None: one line), the first after FIRST, the others after REST."""
    if cells is None:
        return [first + text]
    return textwrap.wrap(
        text,
        max(40, min(cells, 100)),
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
        break_long_words=False,
    )


def hexes(digest: str) -> str:
    """The first 12 hex digits of a digest; `-` of none."""
    return digest.partition(":")[2][:12] or "-"


def count(number: int, noun: str) -> str:
    """`1 pod`, `2 pods`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
