from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from kubectl_imagecache.clients.google_auth import GoogleAuth
from kubectl_imagecache.clients.google_http import Api, GoogleHttp
from kubectl_imagecache.clients.logging import log_filter, read_layers
from kubectl_imagecache.clients.target import ClusterTarget
from kubectl_imagecache.core.errors import BadAnswer, NotPermitted
from kubectl_imagecache.core.pull_records import LayersRecord
from kubectl_imagecache.core.snapshotter_words import parse_layers
from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from kubectl_imagecache.sandbox.http import Request, Response
from tests.clients.factories import quick_http, served

TARGET = ClusterTarget("my-project", "europe-west4", 'pr"od', "from a test")
SINCE = datetime(2026, 1, 15, 8, 0, tzinfo=timezone.utc)
LINE = (
    "Image a/b:1 is backed by secondary boot disk caching by 74.1% (20/27 layers), "
    "by image streaming by 25.9% (7/27 layers)."
)


def google(url: str) -> GoogleHttp:
    return GoogleHttp(quick_http(), GoogleAuth(None), dict.fromkeys(Api, f"{url}/v2/"))


def entry(message: str, node: str = "n1") -> dict[str, object]:
    return {
        "timestamp": "2026-01-15T08:30:00.5Z",
        "jsonPayload": {"MESSAGE": message},
        "resource": {"labels": {"node_name": node}},
    }


@pytest.mark.parametrize(
    ("message", "layers"),
    [
        (LINE, (27, 20, 7)),
        ("Image a/b:1 is backed by secondary boot disk caching by 100.0% (27/27 layers).", (27, 27, 0)),
        ('time="x" msg="Image a/b:1 is backed by image streaming by 100.0% (3/3 layers)."', (3, 0, 3)),
        ("Image a/b:1 is backed by secondary boot disk caching by 1% (99/3 layers).", (3, 3, 0)),
    ],
)
def test_the_snapshotters_words_are_understood(message: str, layers: tuple[int, int, int]) -> None:
    assert parse_layers(message, "n1", 5.0) == LayersRecord("a/b:1", "n1", 5.0, *layers)


@pytest.mark.parametrize("message", ["", "Image a/b:1 is backed by image streaming.", "mounted a/b:1", "Image " * 9999])
def test_other_lines_tell_of_no_layers(message: str) -> None:
    assert parse_layers(message, "n1", 5.0) is None


def test_all_pages_are_read_with_one_question_and_its_tokens() -> None:
    asked: list[dict[str, object]] = []

    def handle(request: Request) -> Response:
        asked.append(json.loads(request.body))
        first = "pageToken" not in asked[-1]
        more = {"nextPageToken": "t2"} if first else {}
        entries = [entry(LINE, "n1" if first else "n2"), entry("something else")]
        return Response(200, json.dumps({"entries": entries, **more}).encode())

    found: list[LayersRecord] = []
    with served(handle) as server:
        server.order(status=503)
        assert read_layers(google(server.url), TARGET, SINCE, found.append) == (2, True)
        assert set(server.paths) == {"/v2/entries:list"}
    assert [record.node for record in found] == ["n1", "n2"]
    assert found[0] == LayersRecord("a/b:1", "n1", 1768465800.5, 27, 20, 7)
    assert asked[0]["resourceNames"] == ["projects/my-project"]
    assert asked[1] == {**asked[0], "pageToken": "t2"}


def test_names_are_quoted_in_the_query() -> None:
    assert 'resource.labels.cluster_name="pr\\"od"' in log_filter(TARGET, SINCE)
    assert 'timestamp>="2026-01-15T08:00:00Z"' in log_filter(TARGET, SINCE)


def test_a_missing_permission_is_named_with_its_role() -> None:
    with served(lambda _: Response(403, b"{}")) as server, pytest.raises(NotPermitted) as raised:
        read_layers(google(server.url), TARGET, SINCE, lambda record: None)
    assert raised.value.message == "not permitted: logging.logEntries.list on projects/my-project"
    assert raised.value.hint == "the least role that allows it: roles/logging.viewer"


def test_nonsense_is_refused() -> None:
    with served(lambda _: Response(200, b'{"entries":{}}')) as server, pytest.raises(BadAnswer, match="no list of log"):
        read_layers(google(server.url), TARGET, SINCE, lambda record: None)


def test_the_sandbox_logs_what_its_nodes_do() -> None:
    with Sandbox(Settings(scenario="pulls")) as sandbox:
        target = ClusterTarget("sandbox-project", "europe-west4", "pulls", "from a test")
        found: list[LayersRecord] = []
        _, complete = read_layers(GoogleHttp.from_env(sandbox.env()), target, SINCE, found.append)
    servers = [record for record in found if "model-server" in record.image]
    assert (len(servers), complete) == (8, True)
    assert {(one.layers, one.by_disk, one.by_streaming) for one in servers} == {(5, 5, 0), (5, 0, 5)}
