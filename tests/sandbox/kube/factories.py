"""Clusters, nodes and workloads for tests, and the programs that look at them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubectl_imagecache.core.contents import Layer
from kubectl_imagecache.sandbox.clock import VirtualClock
from kubectl_imagecache.sandbox.http import Service, World
from kubectl_imagecache.sandbox.kube.cluster import KubeCluster
from kubectl_imagecache.sandbox.kube.images import ImageInfo

Obj = dict[str, Any]
BASE = Layer("sha256:base", 30_000_000, 80_000_000)


def digest(ref: str) -> str:
    return "sha256:" + hashlib.sha256(ref.encode()).hexdigest()


class Registry:
    """Every reference is an image of a shared base and 170 MB of its own, except those that say `missing`."""

    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        self._sizes = sizes or {}

    def resolve(self, ref: str, arch: str) -> ImageInfo | None:
        if "missing" in ref:
            return None
        own = Layer(f"sha256:own-{ref}-{arch}", self._sizes.get(ref, 170_000_000), 500_000_000)
        return ImageInfo(digest(ref), (BASE, own))


@dataclass
class Running:
    """A cluster that is served."""

    world: World
    cluster: KubeCluster
    url: str
    folder: Path
    calls: list[str] = field(default_factory=list)

    def advance(self, seconds: float) -> None:
        with self.world.lock:
            self.world.clock.advance(seconds)
            self.world.changed.notify_all()

    def kubectl(self, *arguments: str, fails: bool = False, text: str | None = None) -> str:
        """The real kubectl's output, both streams."""
        environment = {**os.environ, "HOME": str(self.folder), "KUBECONFIG": str(self.folder / "none")}
        command = ["kubectl", "--server", self.url, "--cache-dir", str(self.folder / "cache"), *arguments]
        done = subprocess.run(
            command, env=environment, input=text, capture_output=True, text=True, timeout=60, check=False
        )
        output = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, output
        return output

    def get(self, path: str, **headers: str) -> Obj:
        status, body = self.call("GET", path, headers=headers)
        assert status == 200, body
        return body

    def call(
        self, method: str, path: str, body: object = None, content_type: str = "application/json", **more: Any
    ) -> tuple[int, Obj]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type, **more.get("headers", {})}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            told = error.read()
            is_json = error.headers["Content-Type"].startswith("application/json")
            return error.code, json.loads(told) if is_json else {"text": told.decode()}


@contextmanager
def running(folder: Path, *, speed: float = 0.0, registry: Registry | None = None) -> Iterator[Running]:
    world = World(VirtualClock(speed=speed))
    cluster = KubeCluster(world, registry or Registry())
    service = Service("kube", world, cluster.handle, cluster.error)
    service.start()
    try:
        yield Running(world, cluster, service.url, folder)
    finally:
        service.stop()


def messages(served: Running, reason: str) -> list[str]:
    """What the events of REASON say."""
    return [event["message"] for event in served.cluster.objects("Event") if event["reason"] == reason]


def node(name: str, *, version: str = "v1.31.2-gke.1354000", ready: bool = True, **labels: str) -> Obj:
    status: Obj = {
        "capacity": {"cpu": "4", "memory": "16Gi", "pods": "110"},
        "allocatable": {"cpu": "3920m", "memory": "13Gi", "pods": "110"},
        "addresses": [{"type": "InternalIP", "address": "10.132.0.7"}, {"type": "Hostname", "address": name}],
        "nodeInfo": {
            "kubeletVersion": version,
            "architecture": "amd64",
            "operatingSystem": "linux",
            "osImage": "Container-Optimized OS from Google",
            "kernelVersion": "6.6.56+",
            "containerRuntimeVersion": "containerd://1.7.23",
        },
    }
    if ready:
        status["conditions"] = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
    metadata = {"name": name, "labels": {"cloud.google.com/gke-nodepool": "pool-1", **labels}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}, "status": status}


def template(app: str, image: str = "nginx:1.27", **spec: Any) -> Obj:
    container = {"name": app, "image": image, "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [container], **spec}}


def pod(name: str, image: str = "nginx:1.27", namespace: str = "default", **spec: Any) -> Obj:
    made = template("web", image, **spec)
    metadata = {"name": name, "namespace": namespace, **made["metadata"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": made["spec"]}


def workload(kind: str, name: str, replicas: int = 1, **more: Any) -> Obj:
    spec = {"selector": {"matchLabels": {"app": name}}, "template": more.pop("template", template(name)), **more}
    if kind != "DaemonSet":
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def budget(app: str, **spec: Any) -> Obj:
    spec = {"selector": {"matchLabels": {"app": app}}, **spec}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": app}, "spec": spec}


def config_map(name: str, **data: str) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
