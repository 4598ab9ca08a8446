"""Maintenance windows: times of the week, on a wall clock somewhere, in which work may be begun."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from kubectl_imagecache.core.errors import BadUsage

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_FORM = re.compile(r"(?:(?P<days>[A-Za-z,-]+)\s+)?(?P<start>\d\d?:\d\d)-(?P<end>\d\d?:\d\d)(?:\s+(?P<zone>[\w/+-]+))?")
_HINT = "write it as 'Sat,Sun 22:00-04:00 Europe/Berlin': days (none: all), from-to, time zone (none: UTC)"


@dataclass(frozen=True, slots=True)
class Window:
    """One that opens on some days of the week."""

    days: frozenset[int]
    """Those on which it opens; Monday is 0."""
    start: time
    end: time
    """Not after START: of the next day."""
    zone: str
    """A name of the IANA time zone database."""

    def __str__(self) -> str:
        named = ",".join(DAYS[day] for day in sorted(self.days))
        return f"{named} {self.start:%H:%M}-{self.end:%H:%M} {self.zone}"


def parse_window(text: str) -> Window:
    """The window that TEXT describes; raises BadUsage."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise BadUsage(f"not a maintenance window: {text!r}", _HINT)
    zone = match["zone"] or "UTC"
    try:
        _zone(zone)
        start, end = (time.fromisoformat(match[name].rjust(5, "0")) for name in ("start", "end"))
    except (ValueError, KeyError, OSError) as error:
        # An unknown zone is a KeyError; a name that is a folder of the database an OSError.
        raise BadUsage(f"not a maintenance window: {text!r}: {error}", _HINT) from error
    return Window(_days(match["days"] or "Mon-Sun", text), start, end, zone)


def _days(text: str, whole: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            begin = DAYS.index(first.capitalize())
            until = DAYS.index(last.capitalize()) if dash else begin
        except ValueError as error:
            raise BadUsage(f"not days of the week: {text!r} in {whole!r}", _HINT) from error
        found |= {(begin + more) % 7 for more in range((until - begin) % 7 + 1)}
    return frozenset(found)


def opened(windows: Iterable[Window], now: datetime) -> datetime | None:
    """Since when WINDOWS let work begin; None while they are all closed.

    Windows that touch or overlap count as one.
    """
    spans = sorted((span for window in windows for span in _spans(window, now)), reverse=True)
    since = None
    for begin, end in spans:
        if begin <= (since or now) < end or (since is not None and begin <= since <= end):
            since = begin
    return since


def opens(windows: Sequence[Window], now: datetime) -> datetime | None:
    """When the first of WINDOWS opens after NOW; None if none ever does."""
    return min((begin for window in windows for begin, _ in _spans(window, now) if begin > now), default=None)


def _spans(window: Window, now: datetime) -> list[tuple[datetime, datetime]]:
    """From when to when, UTC, WINDOW is open, for its openings from eight days before NOW to eight after."""
    zone = _zone(window.zone)
    today = now.astimezone(zone).date()
    found = []
    for offset in range(-8, 9):
        day = today + timedelta(days=offset)
        if day.weekday() not in window.days:
            continue
        last = day if window.end > window.start else day + timedelta(days=1)
        # Where the clock is turned, a wall time is there twice or never: the window is rather too small than too big.
        begin, end = max(_at(day, window.start, zone)), min(_at(last, window.end, zone))
        if begin < end:
            found.append((begin, end))
    return found


def _zone(name: str) -> tzinfo:
    return timezone.utc if name == "UTC" else ZoneInfo(name)  # A machine may have no time zone database.


def _at(day: date, wall: time, zone: tzinfo) -> tuple[datetime, datetime]:
    first, second = (datetime.combine(day, wall.replace(fold=fold), zone).astimezone(timezone.utc) for fold in (0, 1))
    return first, second
