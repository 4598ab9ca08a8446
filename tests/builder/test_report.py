from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.builder.report import Event, Reporter, read


def test_events_are_numbered_and_found_behind_whatever_a_serial_port_puts_before_them() -> None:
    out = io.StringIO()
    now = [100.0]
    reporter = Reporter(out, monotonic=lambda: now[0])
    reporter.say("phase", phase="resolve")
    now[0] += 1.234
    reporter.say("retry", why="503")
    lines = [
        f"[   12.3] google_metadata_script_runner[7]: startup-script: {line}\r" for line in out.getvalue().splitlines()
    ]
    assert [read(line) for line in lines] == [
        Event("phase", 0, 0.0, {"phase": "resolve"}),
        Event("retry", 1, 1.23, {"why": "503"}),
    ]


def test_progress_is_told_once_a_second_at_most_and_for_so_many_layers() -> None:
    out = io.StringIO()
    now = [0.0]
    reporter = Reporter(out, monotonic=lambda: now[0])
    for step in range(100):
        now[0] = step / 20
        reporter.progress(step, 100, {f"sha256:{n}": (step, 100) for n in range(40)})
    events = [event for line in out.getvalue().splitlines() if (event := read(line))]
    assert [event.fields["bytes"] for event in events] == [0, 20, 40, 60, 80]
    assert all(len(event.fields["layers"]) == 16 for event in events)


@given(st.text(max_size=200))
def test_no_text_from_outside_breaks_a_line_or_reaches_a_terminal(text: str) -> None:
    out = io.StringIO()
    Reporter(out, monotonic=lambda: 0.0).say("note", text=text)
    line = out.getvalue()
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()
    assert line.isascii()
    event = read(line)
    assert event is not None
    assert event.fields == {"text": text}


@given(st.one_of(st.text(max_size=100), st.text(max_size=60).map(lambda text: '{"imagecache":' + text)))
def test_other_text_is_no_event(text: str) -> None:
    assert read(text) is None


def test_what_only_looks_like_an_event_is_none() -> None:
    good = '{"imagecache":1,"seq":3,"at":1.5,"event":"x"}'
    assert read(good) == Event("x", 3, 1.5, {})
    for old, new in [(":1,", ":2,"), ('"x"', "7"), ("3", "-3"), ("3", "true"), ("1.5", '"1.5"'), ("3", "[" * 99999)]:
        assert read(good.replace(old, new, 1)) is None
