from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import yaml

from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.pools import DiskMode, SecondaryDisk
from kubectl_imagecache.core.reasons import RecordUnreadable
from kubectl_imagecache.core.report import PoolStatus, State, Suggestion, Verdict
from kubectl_imagecache.render.diff import diff_view
from kubectl_imagecache.render.formats import FORMATS
from kubectl_imagecache.render.images import list_view
from kubectl_imagecache.render.output import write
from kubectl_imagecache.render.screen import Screen
from kubectl_imagecache.render.status import status_view
from kubectl_imagecache.render.text import width
from kubectl_imagecache.render.view import View
from tests.render.factories import disk_ref, fresh, pool, reason_of_each_kind, report, stale

VIEWS: dict[str, View] = {
    "status": status_view(report()),
    "list": list_view(report()),
    "diff": diff_view(report(), everything=False, layers=False),
    "diff-layers": diff_view(report(), everything=True, layers=True),
}
HOSTILE = "\x1b]0;owned\x07\u202e\r\n=cmd|' /C calc'!A0"


def hostile() -> PoolStatus:
    image = disk_ref(HOSTILE)
    return PoolStatus(
        pool(HOSTILE, disks=(SecondaryDisk(image, DiskMode.CACHE),), version=HOSTILE),
        1,
        Verdict(State.UNKNOWN, (RecordUnreadable(image, HOSTILE),)),
        suggestion=Suggestion(("inspect", HOSTILE), HOSTILE),
    )


@pytest.mark.parametrize("cells", [80, 200])
@pytest.mark.parametrize("name", VIEWS)
def test_the_table_looks_as_it_did_when_it_was_last_looked_at(
    name: str, cells: int, golden: Callable[[str, str], None]
) -> None:
    golden(f"{name}-{cells}.txt", write(VIEWS[name], "table", Screen(cells)))


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("output", ["wide", "csv", "markdown", "name"])
def test_the_other_formats_look_as_they_did(name: str, output: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}-{output}.txt", write(VIEWS[name], output, Screen(80, wide=output == "wide")))


@pytest.mark.parametrize("cells", [60, 80, 100, 132, 200])
def test_no_line_but_a_command_to_copy_is_wider_than_the_terminal(cells: int) -> None:
    for view in VIEWS.values():
        for line in write(view, "table", Screen(cells)).splitlines():
            assert width(line) <= cells or line.startswith("  To mend it: ")


def test_json_and_yaml_are_the_document() -> None:
    for view in VIEWS.values():
        assert json.loads(write(view, "json", Screen())) == view.document
        assert yaml.safe_load(write(view, "yaml", Screen())) == json.loads(json.dumps(view.document))


def test_jsonpath_and_custom_columns_read_the_document() -> None:
    view = VIEWS["status"]
    assert write(view, 'jsonpath={.pools[?(@.state=="STALE")].name}', Screen()) == "gpu-a100"
    assert write(view, "custom-columns=POOL:.name,GB:.diskImage.sizeGb", Screen(80)) == (
        "POOL           GB\n"
        "gpu-a100       40\n"
        "spot-l4        <none>\n"
        "web            40\n"
        "batch          40\n"
        "default-pool   <none>\n"
    )
    assert write(view, "custom-columns=P:{.name}", Screen(headers=False)).startswith("gpu-a100\n")


@pytest.mark.parametrize(
    ("output", "hint"),
    [
        ("jason", "one of table, wide, json"),
        ("jsonpath", "such as -o jsonpath="),
        ("custom-columns=", "such as -o custom-columns="),
        ("custom-columns=POOL", "write HEADER:.path"),
        ("jsonpath={.pools", "see https://kubernetes.io/"),
    ],
)
def test_a_wrong_format_is_refused_with_a_way_out(output: str, hint: str) -> None:
    with pytest.raises(BadUsage) as caught:
        write(VIEWS["status"], output, Screen())
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize("output", [name for name in FORMATS if name not in ("json", "yaml") and name[-1] != "="])
@pytest.mark.parametrize("make", [status_view, list_view])
def test_hostile_names_reach_no_human_format(make: Callable[..., View], output: str) -> None:
    text = write(make(report(hostile())), output, Screen(80, wide=output == "wide"))
    assert all(line.isprintable() for line in text.split("\n"))
    if output != "name":
        assert "\n=cmd" not in text


def test_json_escapes_hostile_names_by_itself() -> None:
    text = write(status_view(report(hostile())), "json", Screen())
    assert text.isascii() and "\x1b" not in text
    assert json.loads(text)["pools"][0]["name"] == HOSTILE


def test_csv_makes_no_formula_and_keeps_raw_values() -> None:
    evil = replace(fresh(), pool=pool("=1+1"))
    rows = list(csv.DictReader(io.StringIO(write(status_view(report(stale(), evil)), "csv", Screen()))))
    assert rows[1]["pool"] == "'=1+1"
    assert (rows[0]["cold_start_s"], rows[0]["coverage_bytes"], rows[0]["nodes"]) == ("147.6", "0.4308", "4")
    assert rows[0]["disk_image_created"] == "2026-01-03T09:00:00Z"
    assert rows[0]["why"] == "new tag: vllm-server:0.6.3 +1 more"


def test_markdown_keeps_its_cells_whatever_they_hold() -> None:
    evil = replace(fresh(), pool=pool("a|b`<script>"))
    assert r"a\|b\`\<script\>" in write(status_view(report(evil)), "markdown", Screen())


def test_colour_only_where_it_is_asked_for() -> None:
    assert "\x1b" not in write(VIEWS["status"], "table", Screen(80))
    assert "\x1b[33mSTALE\x1b[0m" in write(VIEWS["status"], "table", Screen(80, colour=True))
    for output in ("json", "yaml", "csv", "markdown", "name"):
        assert "\x1b" not in write(VIEWS["status"], output, Screen(80, colour=True))


def test_no_headers_prints_rows_and_nothing_else() -> None:
    lines = write(VIEWS["status"], "table", Screen(None, headers=False)).splitlines()
    assert [line.split()[0] for line in lines] == ["gpu-a100", "spot-l4", "web", "batch", "default-pool"]


def test_an_empty_answer_says_so() -> None:
    nothing = replace(report(), pools=())
    assert write(status_view(nothing), "table", Screen(80)) == "No node pools found.\n"
    assert write(list_view(nothing), "table", Screen(80)) == "No cached images found.\n"


def test_many_reasons_are_counted_and_wide_shows_all() -> None:
    many = PoolStatus(pool("p"), 1, Verdict(State.STALE, reason_of_each_kind()[:1] * 40))
    view = status_view(report(many))
    assert "… and 34 more; -o wide shows all." in write(view, "table", Screen(80))
    assert write(view, "wide", Screen(wide=True)).count("is missing from the disk") == 40
