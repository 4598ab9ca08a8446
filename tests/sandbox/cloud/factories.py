"""A cloud on real ports whose every exchange is judged, and what tests put into it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

from kubectl_imagecache.sandbox.clock import VirtualClock
from kubectl_imagecache.sandbox.cloud import Cloud, Held
from kubectl_imagecache.sandbox.http import Request, Response, Service, World
from kubectl_imagecache.sandbox.kube.node_cache import NodeCache
from tests.sandbox.cloud.strict import judge

PROJECT = "sandbox-project"
ZONE = "us-central1-a"
CACHE_IMAGE = f"projects/{PROJECT}/global/images/cache-1"
LAYERS = frozenset({"sha256:aa", "sha256:bb"})


@dataclass(slots=True)
class RecordingNodes:
    """A cluster that only remembers its nodes."""

    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    caches: dict[str, NodeCache] = field(default_factory=dict)
    kubelet_s: dict[str, float] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)

    def add_node(self, node: dict[str, Any], cache: NodeCache, kubelet_s: float = 0.0) -> None:
        self.nodes[node["metadata"]["name"]] = node
        self.caches[node["metadata"]["name"]] = cache
        self.kubelet_s[node["metadata"]["name"]] = kubelet_s

    def remove_node(self, name: str) -> None:
        assert self.nodes.pop(name)
        self.gone.append(name)


class JudgedCloud(Cloud):
    """A cloud that keeps what Google's messages would refuse."""

    violations: list[str]

    def handle_gke(self, request: Request) -> Response:
        return self._judged("gke", request, super().handle_gke(request))

    def handle_compute(self, request: Request) -> Response:
        return self._judged("compute", request, super().handle_compute(request))

    def _judged(self, service: str, request: Request, response: Response) -> Response:
        self.violations += judge(service, request, response)
        return response


@dataclass(slots=True)
class CloudSandbox:
    """The cloud, its nodes, its clock and its ports."""

    world: World
    nodes: RecordingNodes
    cloud: JudgedCloud
    gke_url: str
    compute_url: str

    def gke(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A call under `/v1/projects/P/`."""
        return _call(method, f"{self.gke_url}/v1/projects/{PROJECT}/{path}", body)

    def compute(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A call under `/compute/v1/projects/P/`."""
        return _call(method, f"{self.compute_url}/compute/v1/projects/{PROJECT}/{path}", body)

    def advance(self, seconds: float) -> None:
        with self.world.lock:
            self.world.clock.advance(seconds)

    def finish(self, answer: tuple[int, Any]) -> Any:
        """Wait for the Compute operation in ANSWER and return it."""
        status, operation = answer
        assert status == 200, operation
        path = operation["selfLink"].partition(f"{PROJECT}/")[2]
        return self.compute("POST", f"{path}/wait")[1]


def _call(method: str, url: str, body: Any) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = HttpRequest(url, data=data, method=method, headers={"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


@contextmanager
def running(speed: float = 0.0) -> Iterator[CloudSandbox]:
    """A cloud with one regional cluster `demo` and one image `cache-1` that holds LAYERS; fails on any violation."""
    world = World(VirtualClock(speed=speed))
    nodes = RecordingNodes()
    cloud = JudgedCloud(world, nodes)
    cloud.violations = []
    cloud.add_cluster("demo", "us-central1")
    cloud.add_image({"name": "cache-1", "family": "cache"}, Held(LAYERS))
    services = [
        Service("gke", world, cloud.handle_gke, cloud.error),
        Service("compute", world, cloud.handle_compute, cloud.error),
    ]
    for service in services:
        service.start()
    try:
        yield CloudSandbox(world, nodes, cloud, services[0].url, services[1].url)
    finally:
        for service in services:
            service.stop()
    assert cloud.violations == []


def pool(name: str = "web", nodes: int = 1, image: str = CACHE_IMAGE, **config: Any) -> dict[str, Any]:
    """REST JSON of a pool with image streaming and a cache disk made from IMAGE."""
    return {
        "name": name,
        "initialNodeCount": nodes,
        "locations": [ZONE],
        "config": {
            "machineType": "e2-standard-4",
            "gcfsConfig": {"enabled": True},
            "secondaryBootDisks": [{"diskImage": image, "mode": "CONTAINER_IMAGE_CACHE"}],
        }
        | config,
    }


def vm(name: str = "builder", **fields: Any) -> dict[str, Any]:
    """REST JSON of an instance with a Debian boot disk and a blank disk `cache`."""
    debian = {"sourceImage": "projects/debian-cloud/global/images/family/debian-12"}
    blank = {"diskName": f"{name}-cache", "diskSizeGb": "20"}
    return {
        "name": name,
        "machineType": f"zones/{ZONE}/machineTypes/e2-standard-4",
        "disks": [
            {"boot": True, "autoDelete": True, "initializeParams": debian},
            {"deviceName": "cache", "autoDelete": True, "initializeParams": blank},
        ],
        "networkInterfaces": [{"network": "global/networks/default"}],
    } | fields


def gcloud(sandbox: CloudSandbox, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the real gcloud against SANDBOX, with nothing of the user's own configuration."""
    settings = {
        "HOME": str(home),
        "CLOUDSDK_CONFIG": str(home),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER": f"{sandbox.gke_url}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE": f"{sandbox.gke_url}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{sandbox.compute_url}/compute/v1/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": PROJECT,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
    }
    return subprocess.run(
        ["gcloud", *words], env=os.environ | settings, capture_output=True, text=True, timeout=120, check=False
    )
