from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import datetime, timezone

from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.pull_report import Origin, PullReport, decide
from kubectl_imagecache.core.pull_stats import By
from kubectl_imagecache.render.output import write
from kubectl_imagecache.render.plot import MOST_POINTS, Mark, axis_for, picture, tick_text
from kubectl_imagecache.render.plot_html import page_of
from kubectl_imagecache.render.plot_svg import svg
from kubectl_imagecache.render.plot_terminal import draw
from kubectl_imagecache.render.pull_words import seconds
from kubectl_imagecache.render.pulls import pulls_view
from kubectl_imagecache.render.screen import Screen
from tests.core.pull_factories import event, ledger, node, pulled

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e\x00\ud800&\"'"


def report(*records: object, cluster: str = "projects/p/locations/l/clusters/c") -> PullReport:
    origin = Origin(cluster, "ctx", "live", datetime(2026, 1, 15, 9, tzinfo=timezone.utc))
    return decide(ledger(records), origin, By.POOL)  # type: ignore[arg-type]


def hostile() -> PullReport:
    return report(
        node(HOSTILE, HOSTILE),
        pulled("3s", image=HOSTILE.replace('"', ""), node=HOSTILE, pod=HOSTILE),
        event("Failed", f'Failed to pull image "a": {HOSTILE}', node=HOSTILE),
        event("Pulled", HOSTILE),
        cluster=HOSTILE,
    )


def test_hostile_strings_are_harmless_in_every_form() -> None:
    found = hostile()
    texts = [write(pulls_view(found), output, Screen(cells=100)) for output in ("table", "csv", "markdown", "name")]
    texts += draw(found, Screen(cells=100))
    for text in texts:
        assert not set("\x1b\u202e\x00\ud800") & set(text)
    for text in (svg(picture(found)), page_of(found, whole=True)):
        assert not set("\x1b\u202e\x00\ud800") & set(text)
        assert "<script>alert" not in text
        text.encode()


def test_a_picture_of_hostile_strings_is_well_formed() -> None:
    ET.fromstring(svg(picture(hostile())))


def test_nothing_at_all_is_a_picture_too() -> None:
    found = report()
    assert "No pulls were seen." in svg(picture(found))
    assert draw(found, Screen()) == ["No pulls to draw."]
    assert "No image pulls found." in write(pulls_view(found), "table", Screen())
    page_of(found, whole=True)


def test_every_pull_is_a_point_and_first_ones_are_hollow() -> None:
    found = picture(
        report(node("a"), node("b"), *(pulled(f"{n + 1}s", node="ab"[n % 2], pod=f"p{n}", at=n) for n in range(9)))
    )
    marks = [shape for shape in found.shapes if isinstance(shape, Mark) and shape.title]
    assert (len(marks), [mark.hollow for mark in marks].count(True)) == (9, 1)


def test_of_very_many_pulls_the_fastest_and_slowest_are_drawn_and_the_choice_is_said() -> None:
    found = report(
        node(), *(pulled(f"{n + 1}ms", image=f"a/b{n}:1", pod=f"p{n}", at=n) for n in range(MOST_POINTS + 500))
    )
    drawn = picture(found)
    titles = [shape.title.partition(",")[0] for shape in drawn.shapes if isinstance(shape, Mark) and shape.title]
    assert len(titles) == MOST_POINTS
    assert (titles[0], titles[-1]) == ("0.00s", "4.50s")
    assert "4,000 of them drawn" in svg(drawn)


@given(st.lists(st.floats(0, 1e7), max_size=20))
def test_every_time_lies_on_the_axis_and_its_ends_are_labelled(values: list[float]) -> None:
    axis = axis_for(values, 10, 20)
    assert all(10 <= axis.at(value) <= 20 for value in values)
    ticks = axis.ticks()
    assert (axis.at(ticks[0][0]), round(axis.at(ticks[-1][0]), 6)) == (10, 20)
    assert (ticks[0][1], ticks[-1][1]) == (True, True)


def test_times_read_like_times() -> None:
    values = [0.0, 0.3815, 9.994, 9.996, 43.25, 99.96, 125.4, 3599.6, 4200.0]
    assert [seconds(value) for value in values] == [
        "0.00s",
        "0.38s",
        "9.99s",
        "10.0s",
        "43.2s",
        "1m40s",
        "2m05s",
        "1h00m",
        "1h10m",
    ]
    assert [tick_text(value) for value in (0.1, 1.0, 1000.0)] == ["0.1 s", "1 s", "1000 s"]


def test_a_page_needs_no_network_and_runs_only_its_own_script() -> None:
    page = page_of(hostile(), whole=True)
    assert "default-src 'none'" in page
    assert not any(word in page for word in ("http:", "https:", "<link", "<img", "src=", "url(")) or page.count(
        "http://www.w3.org/2000/svg"
    ) == page.count("http:")
