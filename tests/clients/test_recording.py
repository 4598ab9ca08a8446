from __future__ import annotations

import json
from pathlib import Path

import pytest

from kubectl_imagecache.clients.recording import API_VERSION, KIND, Head, Recorder, read
from kubectl_imagecache.core.errors import BadAnswer, NotFound, UserError
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.pull_records import EventRecord, LayersRecord, NodeRecord, PodRecord, Record

HEAD = Head(KIND, API_VERSION, "projects/p/locations/l/clusters/c", "ctx", 100.0)
RECORDS: list[Record] = [
    EventRecord("u", "Pulled", 'a "b" \x1b[31m\n', "n1", "ns", "web", "c", 1.5, 2.25, 3),
    NodeRecord("n1", "pool", "z", 1.0, None, True, (DiskImageRef("p", "d"),), "n2-standard-8", "v1.31"),
    PodRecord("p", "ns", "web", "n1", 1.0, 2.0, None, 1),
    LayersRecord("a/b:1", "n1", None, 3, 2, 1),
]


def record(path: Path, *records: Record, head: Head = HEAD) -> None:
    recorder = Recorder(path, head)
    for one in records:
        recorder.add(one)
    recorder.close()


def test_what_is_recorded_is_read_again(tmp_path: Path) -> None:
    record(tmp_path / "r", *RECORDS)
    found: list[Record] = []
    assert read(tmp_path / "r", found.append) == (HEAD, [])
    assert found == RECORDS


def test_a_recording_is_carried_on(tmp_path: Path) -> None:
    record(tmp_path / "r", *RECORDS[:2])
    record(tmp_path / "r", *RECORDS[2:])
    found: list[Record] = []
    read(tmp_path / "r", found.append)
    assert found == RECORDS


def test_a_recording_of_another_cluster_is_left_alone(tmp_path: Path) -> None:
    record(tmp_path / "r", *RECORDS)
    before = (tmp_path / "r").read_bytes()
    with pytest.raises(UserError, match="another cluster"):
        Recorder(tmp_path / "r", Head(KIND, API_VERSION, "elsewhere"))
    assert (tmp_path / "r").read_bytes() == before


def test_a_last_line_that_breaks_off_is_left_out_and_then_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "r"
    record(path, *RECORDS)
    path.write_bytes(path.read_bytes()[:-20])
    found: list[Record] = []
    _, gaps = read(path, found.append)
    assert (found, [gap.what for gap in gaps]) == (RECORDS[:-1], [f"the last line of {path}"])
    record(path, RECORDS[-1])
    found.clear()
    assert read(path, found.append)[1] == []
    assert found == RECORDS


def test_a_broken_line_is_told_with_its_number(tmp_path: Path) -> None:
    record(tmp_path / "r", *RECORDS)
    lines = (tmp_path / "r").read_text().splitlines()
    (tmp_path / "r").write_text("\n".join([*lines[:2], '{"kind":"Event","uid":7}', *lines[2:]]) + "\n")
    with pytest.raises(BadAnswer, match=r"r, line 3: not a record of pulls"):
        read(tmp_path / "r", lambda record: None)


def test_records_of_kinds_to_come_are_left_out(tmp_path: Path) -> None:
    record(tmp_path / "r", RECORDS[0])
    with (tmp_path / "r").open("a") as file:
        file.write(json.dumps({"kind": "Volume", "name": "x"}) + "\n")
    found: list[Record] = []
    read(tmp_path / "r", found.append)
    assert found == RECORDS[:1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("hello\n", "line 1: not the head"),
        ('{"kind":"List","apiVersion":"v1"}\n', "line 1: a 'List'"),
        (f'{{"kind":"{KIND}","apiVersion":"imagecache/v9"}}\n', "another version: 'imagecache/v9'"),
        (f'{{"kind":"{KIND}","apiVersion":"{API_VERSION}"}}\n{"x" * 1_000_001}', "line 2: longer than any record"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "r").write_text(content)
    with pytest.raises(BadAnswer, match=said):
        read(tmp_path / "r", lambda record: None)


def test_a_missing_recording_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such recording"):
        read(tmp_path / "none", lambda record: None)
    with pytest.raises(UserError, match="can't write the recording"):
        Recorder(tmp_path / "none" / "r", HEAD)
