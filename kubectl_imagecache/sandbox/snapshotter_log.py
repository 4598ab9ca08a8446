"""Cloud Logging, as far as the image snapshotters' log goes: a line for each event that says where layers come from."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from kubectl_imagecache.sandbox.catalog import Catalog
from kubectl_imagecache.sandbox.cloud.errors import ApiError, invalid_field, not_found, response
from kubectl_imagecache.sandbox.http import Request, Response
from kubectl_imagecache.sandbox.kube.cluster import KubeCluster

_IMAGE = re.compile(r"Image (\S+) is backed by (image streaming|secondary disk cache)\.")
_MOST = 1000


class SnapshotterLog:
    """Answers `POST /v2/entries:list`; its lines follow from the cluster's events, so it keeps none itself."""

    def __init__(self, kube: KubeCluster, catalog: Catalog, project: str, location: str, cluster: str) -> None:
        self._kube, self._catalog = kube, catalog
        self._project = project
        self._labels = {"project_id": project, "location": location, "cluster_name": cluster}

    def handle(self, request: Request) -> Response:
        """Answer one request; Google's error object for what the real API would refuse."""
        try:
            if (request.method, request.path) != ("POST", "/v2/entries:list"):
                raise not_found(request.path)
            return self._list(json.loads(request.body or b"{}"))
        except ApiError as error:
            return response(error)
        except ValueError as error:
            return response(invalid_field("body", "", str(error)))

    def _list(self, question: dict[str, Any]) -> Response:
        if question.get("resourceNames") != [f"projects/{self._project}"]:
            raise invalid_field("resourceNames", question.get("resourceNames"), "name one project")
        size = min(_MOST, int(question.get("pageSize", 50)))
        begin = int(question.get("pageToken") or 0)
        entries = [entry for entry in self._entries() if self._fits(entry, str(question.get("filter", "")))]
        answer: dict[str, Any] = {"entries": entries[begin : begin + size]}
        if begin + size < len(entries):
            answer["nextPageToken"] = str(begin + size)
        return Response(200, json.dumps(answer).encode())

    def _fits(self, entry: dict[str, Any], query: str) -> bool:
        """The few clauses that a reader of this log needs: labels of the resource, the log's name, a beginning."""
        for key, value in re.findall(r'resource\.labels\.(\w+)="([^"]*)"', query):
            if entry["resource"]["labels"].get(key) != value:
                return False
        log = re.search(r'log_id\("([^"]*)"\)', query)
        since = re.search(r'timestamp>="([^"]*)"', query)
        return (log is None or log[1] == "gcfs-snapshotter") and (
            since is None or _moment(entry["timestamp"]) >= _moment(since[1])
        )

    def _entries(self) -> list[dict[str, Any]]:
        found = []
        for event in self._kube.objects("Event"):
            match = _IMAGE.fullmatch(event.get("message", ""))
            if match is None:
                continue
            image = self._catalog.resolve(match[1], "amd64")
            layers = len(image.layers) if image else 1
            on_disk = layers if match[2] == "secondary disk cache" else 0
            found.append(self._entry(event, match[1], layers, on_disk))
        return sorted(found, key=lambda entry: (str(entry["timestamp"]), str(entry["insertId"])))

    def _entry(self, event: dict[str, Any], image: str, layers: int, on_disk: int) -> dict[str, Any]:
        def part(count: int) -> str:
            return f"{100 * count / layers:.1f}% ({count}/{layers} layers)"

        message = (
            f"Image {image} is backed by secondary boot disk caching by {part(on_disk)}, "
            f"by image streaming by {part(layers - on_disk)}."
        )
        return {
            "insertId": event["metadata"]["uid"],
            "logName": f"projects/{self._project}/logs/gcfs-snapshotter",
            "timestamp": event["lastTimestamp"],
            "resource": {
                "type": "k8s_node",
                "labels": self._labels | {"node_name": event["involvedObject"]["name"]},
            },
            "jsonPayload": {"MESSAGE": message, "SYSLOG_IDENTIFIER": "gcfs-snapshotter"},
        }


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
