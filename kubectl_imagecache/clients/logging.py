"""GKE's image snapshotter, read from Cloud Logging: by which way each image's layers came."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

import msgspec

from kubectl_imagecache.clients.google_http import Api, GoogleHttp
from kubectl_imagecache.clients.kube.wire import parse_time
from kubectl_imagecache.clients.target import ClusterTarget
from kubectl_imagecache.core.errors import BadAnswer
from kubectl_imagecache.core.pull_records import LayersRecord
from kubectl_imagecache.core.snapshotter_words import parse_layers

ROLE = "roles/logging.viewer"
PAGE = 1000
"""Entries asked for at once: the API's most."""
MOST_PAGES = 200
"""200,000 lines; more pages are not read."""


class _Payload(msgspec.Struct):
    message: str | None = msgspec.field(default=None, name="MESSAGE")
    lower: str | None = msgspec.field(default=None, name="message")


class _Resource(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Entry(msgspec.Struct, rename="camel"):
    json_payload: _Payload | None = None
    text_payload: str | None = None
    resource: _Resource | None = None
    labels: dict[str, str] | None = None
    timestamp: str | None = None


class _Entries(msgspec.Struct, rename="camel"):
    entries: list[_Entry] | None = None
    next_page_token: str | None = None


_DECODER = msgspec.json.Decoder(_Entries)


def read_layers(
    http: GoogleHttp, target: ClusterTarget, since: datetime, add: Callable[[LayersRecord], object]
) -> tuple[int, bool]:
    """Feed what the snapshotters of TARGET's nodes logged SINCE to ADD: (lines understood, whether all were read).

    None may mean that the project excludes this log, which many do. Raises NotPermitted (logging.logEntries.list),
    Unauthenticated, UserError for an API that is off, Unavailable, BadAnswer.
    """
    question: dict[str, object] = {
        "resourceNames": [f"projects/{target.project}"],
        "filter": log_filter(target, since),
        "orderBy": "timestamp asc",
        "pageSize": PAGE,
    }
    found = 0
    for _ in range(MOST_PAGES):
        answer = http.ask(
            Api.LOGGING,
            "entries:list",
            msgspec.json.encode(question),
            permission="logging.logEntries.list",
            on=f"projects/{target.project}",
            role=ROLE,
        )
        try:
            page = _DECODER.decode(answer.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadAnswer(f"{answer.host} gives something that is no list of log entries: {error}") from error
        for entry in page.entries or ():
            record = _record(entry)
            if record is not None:
                found += 1
                add(record)
        if not page.next_page_token:
            return found, True
        question["pageToken"] = page.next_page_token
    return found, False


def log_filter(target: ClusterTarget, since: datetime) -> str:
    """Cloud Logging's query for the snapshotters of one cluster."""
    return " AND ".join(
        (
            'resource.type="k8s_node"',
            f"resource.labels.cluster_name={_quoted(target.name)}",
            f"resource.labels.location={_quoted(target.location)}",
            'log_id("gcfs-snapshotter")',
            '"is backed by"',
            f'timestamp>="{since.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"',
        )
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _record(entry: _Entry) -> LayersRecord | None:
    payload = entry.json_payload or _Payload()
    message = payload.message or payload.lower or entry.text_payload or ""
    labels = (entry.resource.labels if entry.resource else None) or {}
    moment = parse_time(entry.timestamp)
    return parse_layers(message, labels.get("node_name", ""), moment.timestamp() if moment else None)
