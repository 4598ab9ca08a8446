from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubectl_imagecache.cli.main import run
from tests.e2e.browser import Page, page

ORDER = "[...document.querySelectorAll('table')[3].tBodies[0].rows].map(row => row.cells[{column}].dataset.key)"
CLICK = "document.querySelectorAll('table')[3].tHead.rows[0].cells[{column}].firstChild.click()"
P50 = 3


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "pulls.html"
    assert run(["pulls", "--sandbox=pulls", "--html", str(file)], {}) == 0
    return file


@pytest.fixture
def shown(html: Path, tmp_path: Path) -> Iterator[Page]:
    with page(tmp_path / "profile") as browser:
        browser.open(html)
        yield browser


def test_a_click_on_a_heading_sorts_and_another_turns_round(shown: Page) -> None:
    shown.value(CLICK.format(column=P50))
    up = [float(key) for key in shown.value(ORDER.format(column=P50))]
    assert up == sorted(up)
    assert len(up) == 12
    shown.value(CLICK.format(column=P50))
    assert [float(key) for key in shown.value(ORDER.format(column=P50))] == up[::-1]
    head = f"document.querySelectorAll('table')[3].tHead.rows[0].cells[{P50}].getAttribute('aria-sort')"
    assert shown.value(head) == "descending"


def test_the_page_asks_the_network_for_nothing_and_breaks_no_rule_of_its_own(shown: Page, html: Path) -> None:
    asked = [params["request"]["url"] for params in shown.told("Network.requestWillBeSent")]
    assert asked == [html.as_uri()]
    assert shown.told("Log.entryAdded") == []
    assert shown.told("Runtime.exceptionThrown") == []


def test_light_and_dark_follow_the_readers_system(html: Path, tmp_path: Path) -> None:
    grounds = []
    for dark in (False, True):
        with page(tmp_path / str(dark)) as browser:
            browser.open(html, dark=dark)
            ground = browser.value("getComputedStyle(document.body).backgroundColor")
            text = browser.value("getComputedStyle(document.querySelector('svg text')).fill")
            grounds.append((ground, text))
            browser.screenshot(tmp_path / f"{'dark' if dark else 'light'}.png")
    assert grounds == [("rgb(255, 255, 255)", "rgb(27, 27, 27)"), ("rgb(22, 22, 22)", "rgb(236, 236, 236)")]


def test_nothing_sticks_out_of_the_page(shown: Page) -> None:
    assert shown.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_page_tells_findings_plots_tables_and_coverage(shown: Page) -> None:
    headings = json.loads(shown.value("JSON.stringify([...document.querySelectorAll('h2')].map(h => h.textContent))"))
    assert headings == [
        "What stands out",
        "By method",
        "By pool",
        "By image",
        "By node",
        "Cache disks by pool",
        "The ways to pull",
    ]
    assert shown.value("document.querySelectorAll('figure svg').length") == 2
