from __future__ import annotations

import json
import struct
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from kubectl_imagecache.sandbox.scenarios.pulls import FIRST_DISK_S, KUBELET_S, NODES
from tests.cli.conftest import Program
from tests.schemas import whole

SVG = "{http://www.w3.org/2000/svg}"


def document(program: Program, *args: str, **env: str) -> dict[str, Any]:
    found = program.imagecache("pulls", *args, "-o", "json", **env)
    assert found.returncode == 0, found.stderr
    return whole(found.stdout)


@pytest.fixture
def live() -> Iterator[Sandbox]:
    """A sandbox whose time runs 30 times as fast as ours."""
    with Sandbox(Settings(scenario="pulls", speed=30)) as sandbox:
        yield sandbox


@pytest.mark.parametrize("cells", ["80", "200"])
def test_the_three_ways_look_as_when_they_were_last_looked_at(
    program: Program, cells: str, golden: Callable[[str, str], None]
) -> None:
    found = program.imagecache("pulls", "--sandbox=pulls", "--plot", COLUMNS=cells)
    assert (found.returncode, found.stderr) == (0, "")
    golden(f"pulls-{cells}.txt", found.stdout)


def test_the_three_ways_come_out_near_the_public_figures(program: Program) -> None:
    groups = {group["name"]: group for group in document(program, "--sandbox=pulls")["groups"]}
    registry, streaming, disk = groups["plain"], groups["streaming"], groups["cached"]
    assert registry["firstSeconds"]["p50"] == pytest.approx(55, rel=0.1)
    assert registry["laterSeconds"]["p50"] == pytest.approx(43, rel=0.1)
    assert streaming["firstSeconds"]["p50"] == pytest.approx(53, rel=0.1)
    assert streaming["laterSeconds"]["max"] < 1
    assert disk["seconds"]["max"] < 1
    ways = {name: [method["method"] for method in group["methods"]] for name, group in groups.items()}
    assert ways == {"plain": ["registry"], "streaming": ["image streaming"], "cached": ["cache disk"]}


def test_the_way_to_ready_is_split_and_the_first_disk_in_a_zone_told_apart(program: Program) -> None:
    found = document(program, "--sandbox=pulls")
    starts = {start["pod"].partition("/")[2][: len("server-cached-0")]: start for start in found["starts"]}
    firsts = {name: start["firstDiskInZone"] for name, start in starts.items() if start["pool"] == "cached"}
    assert firsts == {f"server-cached-{number}": number == 0 for number in range(NODES)}
    assert {start["firstDiskInZone"] for start in found["starts"] if start["pool"] != "cached"} == {None}
    provisions = {(start["firstDiskInZone"] is True, start["provisionSeconds"]) for start in found["starts"]}
    # The scheduler and timestamps in whole seconds add a little.
    assert [first for first, _ in sorted(provisions)] == [False, True]
    for first, seconds in provisions:
        assert seconds == pytest.approx(KUBELET_S + FIRST_DISK_S * first, abs=2)
    assert len(found["starts"]) == 3 * NODES
    pulled = {pull["pod"]: pull["seconds"] + (pull["queueSeconds"] or 0) for pull in found["pulls"]}
    for start in found["starts"]:
        assert start["pullSeconds"] == pytest.approx(pulled[start["pod"]], abs=1)
        assert 0 <= start["startSeconds"] < 5


def test_table_and_page_show_the_split_and_the_first_disk(program: Program, tmp_path: Path) -> None:
    page = tmp_path / "p.html"
    found = program.imagecache("pulls", "--sandbox=pulls", f"--html={page}", "-o", "wide", COLUMNS="220")
    assert (found.returncode, found.stderr) == (0, "")
    head, *rows = found.stdout.splitlines()[:4]
    at = slice(head.index("FAILED") + len("FAILED"), head.index("PROVISION") + len("PROVISION"))
    assert [row[at].strip() for row in rows] == ["25.0s"] * 3
    said = "with the first cache disk of its disk image in their zone took 56.0s to take a pod, others 25.0s"
    assert said in " ".join(found.stdout.split())
    text = page.read_text(encoding="utf-8")
    assert said in text
    assert ">PROVISION<" in text
    assert text.count(">25.0s<") >= 3


@pytest.mark.parametrize("scenario", ["stale", "healthy", "mixed", "broken", "empty", "pulls"])
@pytest.mark.parametrize("by", ["pool", "image", "method", "node"])
def test_every_document_follows_the_schema(program: Program, scenario: str, by: str) -> None:
    found = document(program, f"--sandbox={scenario}", "--by", by, "--logs", "--system")
    assert (found["by"], found["source"], found["unknownEvents"]) == (by, f"sandbox {scenario}", 0)


def test_the_snapshotters_log_tells_the_layers(program: Program) -> None:
    pulls = document(program, "--sandbox=pulls", "--logs", "cached", "streaming")["pulls"]
    layers = {(pull["method"], pull["methodKnown"], str(pull["layers"])) for pull in pulls}
    assert layers == {
        ("cache disk", "observed", "{'all': 5, 'disk': 5, 'streaming': 0}"),
        ("image streaming", "observed", "{'all': 5, 'disk': 0, 'streaming': 5}"),
    }


def test_every_format_is_printed(program: Program) -> None:
    for output in ("wide", "yaml", "name", "csv", "markdown", "jsonpath={.groups[0].pulls}", "custom-columns=P:.name"):
        found = program.imagecache("pulls", "--sandbox=pulls", "-o", output)
        assert (found.returncode, found.stderr) == (0, ""), output
        assert found.stdout.strip(), output
    assert program.imagecache("pulls", "--sandbox=pulls", "-o", "name").stdout.split() == [
        "pool/plain",
        "pool/streaming",
        "pool/cached",
    ]


def test_a_watch_keeps_what_happens_and_the_file_tells_it_again(
    program: Program, live: Sandbox, tmp_path: Path
) -> None:
    file = tmp_path / "r.jsonl"
    watched = document(program, "--watch", str(file), "--for", "3s", **live.env())
    again = document(program, "--from", str(file))
    assert again["pulls"] == watched["pulls"]
    assert again["starts"] == watched["starts"]
    assert again["groups"] == watched["groups"]
    assert (len(again["pulls"]), again["source"]) == (12, "recording r.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[0]["kind"] == "PullRecording"
    events = [(line["uid"], line["count"]) for line in lines if line["kind"] == "Event"]
    assert len(events) == len(set(events))


def test_a_watch_that_is_carried_on_writes_nothing_twice(program: Program, live: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    for _ in range(2):
        watched = document(program, "--watch", str(file), "--for", "1s", "--logs", **live.env())
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    events = [(line["uid"], line["count"]) for line in lines if line["kind"] == "Event"]
    assert len(events) == len(set(events)) > 100
    assert [line["kind"] for line in lines].count("PullRecording") == 1
    layers = [(line["image"], line["node"], line["at"]) for line in lines if line["kind"] == "Layers"]
    assert len(layers) == len(set(layers)) >= 8
    again = document(program, "--from", str(file))
    assert again["pulls"] == watched["pulls"]
    assert sum(pull["layers"] is not None for pull in again["pulls"]) == 8


def test_pictures_are_written(program: Program, tmp_path: Path) -> None:
    for suffix in ("svg", "png", "html"):
        found = program.imagecache("pulls", "--sandbox=pulls", f"--plot={tmp_path}/p.{suffix}")
        assert (found.returncode, found.stderr) == (0, "")
    svg = ET.fromstring((tmp_path / "p.svg").read_text())
    marks = [
        mark for kind in ("circle", "polygon") for mark in svg.iter(SVG + kind) if mark.find(SVG + "title") is not None
    ]
    assert len(marks) == 12
    png = (tmp_path / "p.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    assert (width, height) == (2 * int(svg.get("width", 0)), 2 * int(svg.get("height", 0)))
    assert "<svg" in (tmp_path / "p.html").read_text()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere", "--sandbox=pulls"], "error: no node of a pool 'nowhere' is known"),
        (["--from", "missing.jsonl"], "error: no such recording: missing.jsonl"),
        (["--from", "x", "--sandbox"], "error: --from and --sandbox exclude each other"),
        (["--from", "x", "--watch", "y"], "error: --watch and --from exclude each other"),
        (["--for", "3s"], "error: --for needs --watch"),
        (["--since", "yesterday"], "error: Invalid value for '--since'"),
        (["--sandbox=pulls", "--plot=x.gif"], "error: --plot can't tell what 'x.gif' is to be"),
        (["--sandbox=pulls", "--plot", "-o", "json"], "error: --plot draws beneath a table, not -o json"),
        (["--sandbox=pulls", "--plot=/nowhere/x.svg"], "error: can't write /nowhere/x.svg"),
        (["--sandbox=pulls", "--layers"], "error: No such option --layers"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(program: Program, args: list[str], said: str) -> None:
    found = program.imagecache("pulls", *args)
    assert found.returncode in (1, 2)
    assert found.stderr.startswith(said)
    assert len(found.stderr.splitlines()) <= 2


def test_asking_for_more_than_events_keep_is_said(program: Program) -> None:
    found = program.imagecache("pulls", "--sandbox=pulls", "--since", "3h")
    assert "events older than an hour" in found.stderr
