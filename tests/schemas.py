"""The JSON Schemas of what the program writes, for tests to hold it to them."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema

FOLDER = files("kubectl_imagecache") / "schemas"
BY_KIND = {
    "StatusReport": "status-report",
    "CachedImageList": "cached-image-list",
    "CacheDiff": "cache-diff",
    "PullReport": "pull-report",
    "BenchReport": "bench-report",
    "DiskImage": "disk-image",
    "DiskImageGc": "disk-image-gc",
    "BuildTraceList": "build-trace-list",
    "DiskImageInspection": "disk-image-inspection",
    "DiskImageVerification": "disk-image-verification",
}


@cache
def schema(name: str) -> dict[str, Any]:
    """The schema in NAME.json."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def follow(name: str, document: object) -> None:
    """Raise jsonschema.ValidationError unless DOCUMENT follows the schema in NAME.json."""
    jsonschema.Draft202012Validator(schema(name)).validate(document)


def whole(text: str) -> dict[str, Any]:
    """The one document in TEXT, which follows the schema of its kind."""
    document: dict[str, Any] = json.loads(text)
    follow(BY_KIND[document["kind"]], document)
    return document


def lines(text: str) -> list[dict[str, Any]]:
    """The events in TEXT, a line each, of a build or a roll; each follows its schema."""
    events: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    for event in events:
        follow("build-event" if "event" in event else "roll-event", event)
    return events
