from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from kubectl_imagecache.clients.recording import API_VERSION, KIND, Head, Recorder
from kubectl_imagecache.core.pull_records import EventRecord
from kubectl_imagecache.sandbox.scenarios import shelf
from tests.cli.conftest import Program

NOW = datetime(2026, 1, 15, 9, tzinfo=timezone.utc).timestamp()
DAY = 86_400.0


def record(file: Path, began_days: float, seen_days: float) -> Path:
    """A recording in which the image that nothing uses now was used so long ago."""
    recorder = Recorder(file, Head(KIND, API_VERSION, began=NOW - began_days * DAY))
    message = f'Container image "{shelf.TRITON}:24.10-py3" already present on machine'
    recorder.add(EventRecord("1", "Pulled", message, "n", last=NOW - seen_days * DAY))
    recorder.add(EventRecord("2", "Pulled", 'Container image "nginx:1" already present on machine', "n", last=NOW - 60))
    recorder.close()
    return file


@pytest.mark.parametrize(
    ("began", "seen", "dropped", "note"),
    [
        (40, 35, True, ""),
        (40, 5, False, "note: kept, as used within 30d: nvcr.io/nvidia/tritonserver:24.10-py3"),
        (10, 9, False, "note: the recordings don't cover the last 30d: 1 unused image kept"),
    ],
)
def test_only_what_recordings_show_unused_for_so_long_is_dropped(
    program: Program, tmp_path: Path, began: float, seen: float, dropped: bool, note: str
) -> None:
    file = record(tmp_path / "pulls.jsonl", began, seen)
    found = program.imagecache(
        "rebuild", "inference", "--sandbox", "--dry-run", "-o", "json", "--no-preflight",
        "--unused-for", "30d", "--seen-in", str(file),
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    absent = {image["image"].rpartition("/")[2] for image in json.loads(found.stdout)["absent"]}
    assert ("tritonserver:24.10-py3" in absent) is dropped
    assert note in found.stderr and (note or "note:" not in found.stderr)


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (("web", "--unused-for", "30d"), "--unused-for and --seen-in go together"),
        (("--image", "nginx", "--unused-for", "30d", "--seen-in", "f"), "--unused-for needs a pool"),
    ],
)
def test_it_asks_for_evidence_and_a_pool(program: Program, args: tuple[str, ...], error: str) -> None:
    found = program.imagecache("rebuild", *args)
    assert (found.returncode, found.stderr.splitlines()[0]) == (2, f"error: {error}")
