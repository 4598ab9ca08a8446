from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.windows import DAYS, Window, opened, opens, parse_window

NIGHTS = "Sat,Sun 22:00-04:00 Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")).astimezone(timezone.utc)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (NIGHTS, NIGHTS),
        ("9:30-17:00", "Mon,Tue,Wed,Thu,Fri,Sat,Sun 09:30-17:00 UTC"),
        ("mon-wed 00:00-24:00", None),
        ("fri-MON 00:00-00:00 Asia/Tokyo", "Mon,Fri,Sat,Sun 00:00-00:00 Asia/Tokyo"),
        ("Sat 22-04", None),
        ("Caturday 22:00-04:00", None),
        ("Sat 22:00-04:00 Europe/Atlantis", None),
        ("Sat 22:00-04:00 ../../etc/passwd", None),
        ("Sat 22:00-04:00 Europe", None),
    ],
)
def test_a_window_is_read_or_refused(text: str, said: str | None) -> None:
    if said is None:
        with pytest.raises(BadUsage, match="not "):
            parse_window(text)
    else:
        assert str(parse_window(text)) == said


@pytest.mark.parametrize(
    ("now", "since"),
    [
        ("2026-01-17T21:59", None),  # Saturday
        ("2026-01-17T22:00", "2026-01-17T22:00"),
        ("2026-01-18T03:59", "2026-01-17T22:00"),
        ("2026-01-18T04:00", None),
        ("2026-01-19T03:00", "2026-01-18T22:00"),  # the night from Sunday to Monday
        ("2026-01-19T23:00", None),
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_begins(now: str, since: str | None) -> None:
    assert opened([parse_window(NIGHTS)], berlin(now)) == (berlin(since) if since else None)


def test_when_the_next_one_opens() -> None:
    both = [parse_window(NIGHTS), parse_window("Wed 12:00-13:00")]
    assert opens(both, at("2026-01-19T12:00")) == at("2026-01-21T12:00")
    assert opens(both, at("2026-01-21T12:00")) == berlin("2026-01-24T22:00")
    assert opens([], at("2026-01-21T12:00")) is None


@pytest.mark.parametrize(
    ("window", "begin", "end"),
    [
        # Clocks go from 2 to 3 on 29 March 2026, and from 3 to 2 on 25 October.
        ("Sat 22:00-04:00 Europe/Berlin", "2026-03-28T21:00", "2026-03-29T02:00"),
        ("Sun 02:30-05:00 Europe/Berlin", "2026-03-29T01:30", "2026-03-29T03:00"),
        ("Sat 22:00-02:30 Europe/Berlin", "2026-03-28T21:00", "2026-03-29T00:30"),
        ("Sat 22:00-04:00 Europe/Berlin", "2026-10-24T20:00", "2026-10-25T03:00"),
        ("Sun 02:30-05:00 Europe/Berlin", "2026-10-25T01:30", "2026-10-25T04:00"),
        ("Sat 22:00-02:30 Europe/Berlin", "2026-10-24T20:00", "2026-10-25T00:30"),
    ],
)
def test_where_the_clock_is_turned_a_window_is_never_larger_than_what_is_written(
    window: str, begin: str, end: str
) -> None:
    found, second = [parse_window(window)], timedelta(seconds=1)
    assert opened(found, at(begin) - second) is None
    assert opened(found, at(begin)) == opened(found, at(end) - second) == at(begin)
    assert opened(found, at(end)) is None


def test_a_window_that_the_change_of_the_clock_swallows_does_not_open() -> None:
    found = [parse_window("Sun 02:00-03:00 Europe/Berlin")]
    assert opened(found, at("2026-03-29T01:00")) is None
    assert opens(found, at("2026-03-29T00:00")) == berlin("2026-04-05T02:00")


def test_windows_that_touch_are_one() -> None:
    whole = [parse_window("Mon-Sun 00:00-00:00")]
    assert opened(whole, at("2026-01-21T12:00")) == at("2026-01-13T00:00")
    assert opened([parse_window("08:00-10:00"), parse_window("10:00-12:00")], at("2026-01-21T11:00")) == at(
        "2026-01-21T08:00"
    )


WINDOWS = st.builds(
    Window,
    st.frozensets(st.integers(0, 6), min_size=1),
    st.times().map(lambda one: one.replace(second=0, microsecond=0)),
    st.times().map(lambda one: one.replace(second=0, microsecond=0)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]),
)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(lambda one: one.replace(tzinfo=timezone.utc))


@given(st.lists(WINDOWS, min_size=1, max_size=3), MOMENTS)
def test_what_is_closed_opens_exactly_when_it_is_said(windows: list[Window], now: datetime) -> None:
    then = opens(windows, now)
    assert then is not None
    assert now < then
    assert opened(windows, then) is not None
    if opened(windows, now) is None:
        assert opened(windows, then - timedelta(seconds=1)) is None


@given(WINDOWS)
def test_what_is_written_is_read_again(window: Window) -> None:
    assert parse_window(str(window)) == window
    assert len(DAYS) == 7
