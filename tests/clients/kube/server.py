"""A small API server on loopback that serves lists by pages, with the sandbox's faults and request log."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from kubectl_imagecache.clients.kube import Kube, KubeOptions
from kubectl_imagecache.sandbox.clock import EPOCH
from kubectl_imagecache.sandbox.faults import Fault
from kubectl_imagecache.sandbox.http import Request, Response, Service, World

REASONS = {401: "Unauthorized", 403: "Forbidden", 410: "Expired", 429: "TooManyRequests"}


def status(code: int, message: str = "it went wrong") -> bytes:
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": REASONS.get(code, ""), "message": message}
    return json.dumps(body).encode()


def worded(fault: Fault) -> Response:
    headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
    return Response(fault.status, status(fault.status, fault.message or "ordered"), headers=headers)


@dataclass
class Api:
    """Lists by path, and the requests that came."""

    lists: dict[str, list[Any]]
    world: World = field(default_factory=World)
    requests: list[Request] = field(default_factory=list)
    answers: dict[str, bytes] = field(default_factory=dict)
    """Bodies that are sent as they stand, by path."""
    token: str = ""
    """If set, the only bearer token that is let in."""

    def handle(self, request: Request) -> Response:
        self.requests.append(request)
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return Response(401, status(401, "Unauthorized"))
        if request.path in self.answers:
            return Response(200, self.answers[request.path])
        items = self.lists.get(request.path)
        if items is None:
            return Response(404, status(404, "the server could not find the requested resource"))
        start = int(base64.b64decode(request.query.get("continue", "")) or 0)
        end = start + int(request.query.get("limit", len(items)))
        token = base64.b64encode(str(end).encode()).decode() if end < len(items) else ""
        body = {"kind": "List", "metadata": {"continue": token}, "items": items[start:end]}
        return Response(200, json.dumps(body).encode())

    def fail(self, *faults: Fault) -> None:
        self.world.faults.rules.extend(faults)

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]


PODS = "/api/v1/pods"
NODES = "/api/v1/nodes"
EVENTS = "/api/v1/events"


@contextmanager
def api(
    pods: list[Any], nodes: list[Any], events: list[Any] | None = None, **more: list[Any]
) -> Iterator[tuple[Api, str]]:
    """An API server with these lists (MORE by `apps_v1_deployments`), and its URL."""
    served = Api({PODS: pods, NODES: nodes, EVENTS: events or []})
    served.lists |= {f"/apis/{name.replace('_', '/')}": items for name, items in more.items()}
    service = Service("kube", served.world, served.handle, worded)
    service.start()
    try:
        yield served, service.url
    finally:
        service.stop()


@dataclass
class Waits:
    """A clock that remembers how long it was asked to sleep, and doesn't."""

    slept: list[float] = field(default_factory=list)
    time: datetime = EPOCH

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def kubeconfig(
    folder: Path, server: str, user: Mapping[str, Any] | None = None, cluster: Mapping[str, Any] | None = None
) -> Path:
    """A kubeconfig with the one context `shop`, whose user is `me` and cluster `c1`."""
    path = folder / "config"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "shop",
        "contexts": [{"name": "shop", "context": {"cluster": "c1", "user": "me", "namespace": "front"}}],
        "clusters": [{"name": "c1", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "me", "user": user or {}}],
    }
    path.write_text(json.dumps(document))  # JSON is YAML.
    return path


def connect(path: Path, clock: Waits | None = None, chance: float = 0.5, **options: Any) -> Kube:
    """A client of the kubeconfig at PATH, with virtual waits."""
    return Kube.connect(
        KubeOptions(kubeconfig=str(path), **options), env={}, clock=clock or Waits(), chance=lambda: chance
    )
