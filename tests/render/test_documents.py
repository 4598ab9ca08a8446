from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from kubectl_imagecache.core.report import PoolStatus, State, StatusReport, Verdict
from kubectl_imagecache.core.views import Gap
from kubectl_imagecache.render.diff import diff_view
from kubectl_imagecache.render.images import list_view
from kubectl_imagecache.render.status import status_view
from tests.render.factories import pool, reason_of_each_kind, report, stale
from tests.schemas import BY_KIND, FOLDER, schema, whole


def documents(of: StatusReport) -> list[dict[str, Any]]:
    return [
        status_view(of).document,
        list_view(of).document,
        diff_view(of, everything=True, layers=True).document,
        diff_view(of, everything=False, layers=False).document,
    ]


def check(document: dict[str, Any]) -> None:
    whole(json.dumps(document))


@pytest.mark.parametrize("name", [*BY_KIND.values(), "build-event"])
def test_the_schemas_are_schemas_and_closed(name: str) -> None:
    found = schema(name)
    jsonschema.Draft202012Validator.check_schema(found)

    def objects(node: Any) -> list[dict[str, Any]]:
        below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        here = [node] if isinstance(node, dict) and "properties" in node and node.get("type") == "object" else []
        return here + [item for value in below for item in objects(value)]

    assert objects(found)
    assert not [item for item in objects(found) if item.get("additionalProperties", True) is True]


def test_every_schema_is_one_and_none_is_left_out() -> None:
    names = {path.name.removesuffix(".json") for path in FOLDER.iterdir() if path.name.endswith(".json")}
    assert names == {*BY_KIND.values(), "build-plan-v1", "contents-v1", "build-event", "roll-event"}
    for name in names:
        jsonschema.Draft202012Validator.check_schema(schema(name))


def test_every_document_follows_its_schema() -> None:
    for document in documents(report(gaps=(Gap("events", "not permitted: list events", "ask for view"),))):
        check(document)


def test_every_kind_of_reason_follows_the_schema() -> None:
    status = PoolStatus(pool("all"), 1, Verdict(State.BROKEN, reason_of_each_kind()))
    document = status_view(report(status)).document
    check(document)
    assert [item["code"] for item in document["pools"][0]["reasons"]] == [r.code for r in reason_of_each_kind()]


def test_the_schema_refuses_what_it_does_not_know() -> None:
    document = status_view(report()).document
    document["pools"][0]["surprise"] = 1
    with pytest.raises(jsonschema.ValidationError):
        check(document)


def test_an_empty_cluster_has_a_whole_document() -> None:
    empty = StatusReport("", "", report().observed_at, ())
    for document in documents(empty):
        check(document)


def test_the_status_document_says_what_the_report_says() -> None:
    document = status_view(report(stale())).document
    assert document["pools"][0]["reasons"][0] == {
        "code": "new-tag",
        "effect": "STALE",
        "message": "vllm-server:0.6.3 (8.00 GiB) is not on the disk, which holds 0.6.2; 12 pods on 4 nodes use it.",
        "image": "us-docker.pkg.dev/acme-ml/serving/vllm-server:0.6.3",
        "cached": ["0.6.2"],
        "compressedBytes": 8 * 1024**3,
        "nodes": 4,
        "pods": 12,
    }
    assert document["pools"][0]["suggestion"]["command"] == ["kubectl", "imagecache", "rebuild", "gpu-a100"]
    assert document["observedAt"] == "2026-01-15T09:00:00Z"
