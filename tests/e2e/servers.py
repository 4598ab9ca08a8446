"""Kubernetes API servers for tests: the sandbox's, and a real kube-apiserver with etcd where one is found.

A real one is found as controller-runtime's envtest does it: KUBEBUILDER_ASSETS names the folder with `kube-apiserver`
and `etcd`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import urllib3
import yaml

from kubectl_imagecache.sandbox.clock import VirtualClock
from kubectl_imagecache.sandbox.http import Service, World
from kubectl_imagecache.sandbox.kube.cluster import KubeCluster

ADMIN, VIEWER = "admin-token", "viewer-token"
ASSETS = os.environ.get("KUBEBUILDER_ASSETS", "")
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
_PATCH = {"PATCH": "application/merge-patch+json"}


@dataclass(frozen=True)
class Server:
    """A running API server, with an administrator's kubeconfig and one of a user who may do nothing yet."""

    url: str
    kubeconfig: Path
    viewer_kubeconfig: Path
    ca: str = ""

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request as the administrator; fails the test on an error."""
        status, found = self.answer(method, path, body)
        assert status < 300, f"{method} {path}: {status} {found}"
        return found

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        """A request that may be refused: what it is about may have changed or gone."""
        status, found = self.answer(method, path, body)
        assert status < 300 or status in (404, 409), f"{method} {path}: {status} {found}"

    def answer(
        self, method: str, path: str, body: dict[str, Any] | None = None, kind: str = ""
    ) -> tuple[int, dict[str, Any]]:
        """The status and the body that the server answers the administrator with; KIND is the content type."""
        headers = {
            "Authorization": f"Bearer {ADMIN}",
            "Content-Type": kind or _PATCH.get(method, "application/json"),
        }
        content = json.dumps(body) if body is not None else None
        with urllib3.PoolManager(ca_certs=self.ca or None, assert_hostname=False) as pool:
            answer = pool.request(method, self.url + path, body=content, headers=headers)
        found: dict[str, Any] = json.loads(answer.data)
        return answer.status, found


def write_kubeconfig(file: Path, url: str, token: str, ca: str, user: str = "") -> Path:
    cluster = {"server": url} | ({"certificate-authority": ca} if ca else {})
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token} if ca else {"as": user} if user else {}}],
    }
    file.write_text(yaml.safe_dump(config))
    file.chmod(0o600)
    return file


class NoImages:
    """An image source for a cluster in which nothing is pulled: no time passes."""

    def resolve(self, ref: str, arch: str) -> None:
        return None


@contextmanager
def sandbox(folder: Path) -> Iterator[Server]:
    world = World(VirtualClock(datetime.now(timezone.utc)))  # What runs the tests' commands has this time, too.
    cluster = KubeCluster(world, NoImages())
    service = Service("kube", world, cluster.handle, cluster.error)
    service.start()
    try:
        cluster.access.subjects.add("viewer")
        admin = write_kubeconfig(folder / "kubeconfig", service.url, ADMIN, "")
        yield Server(service.url, admin, write_kubeconfig(folder / "viewer", service.url, VIEWER, "", "viewer"))
    finally:
        service.stop()


@contextmanager
def kube_apiserver(folder: Path) -> Iterator[Server]:
    etcd_port, peer_port, port = _free_port(), _free_port(), _free_port()
    (folder / "tokens.csv").write_text(f'{ADMIN},admin,admin,"system:masters"\n{VIEWER},viewer,viewer\n')
    key = folder / "service-accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    etcd = [
        f"{ASSETS}/etcd",
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=http://127.0.0.1:{etcd_port}",
        f"--advertise-client-urls=http://127.0.0.1:{etcd_port}",
        f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
        "--unsafe-no-fsync",
    ]
    api = [
        f"{ASSETS}/kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certs'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
    ]
    with _running(folder / "servers.log", etcd, api):
        ca, url = str(folder / "certs" / "apiserver.crt"), f"https://127.0.0.1:{port}"
        server = Server(
            url,
            write_kubeconfig(folder / "kubeconfig", url, ADMIN, ca),
            write_kubeconfig(folder / "viewer", url, VIEWER, ca),
            ca,
        )
        _wait_until_ready(server, folder / "servers.log")
        yield server


@contextmanager
def controllers(folder: Path, server: Server) -> Iterator[None]:
    """The controllers and the scheduler of Kubernetes at SERVER; no node is ever thought lost."""
    common = (f"--kubeconfig={server.kubeconfig}", "--leader-elect=false", "--secure-port=0")
    manager, scheduler = (f"{ASSETS}/{name}" for name in CONTROLLERS)
    with _running(
        folder / "controllers.log", [manager, *common, "--node-monitor-grace-period=2h"], [scheduler, *common]
    ):
        yield


@contextmanager
def _running(log: Path, *commands: list[str]) -> Iterator[None]:
    processes: list[subprocess.Popen[bytes]] = []
    with log.open("wb") as output:
        try:
            processes += [subprocess.Popen(command, stdout=output, stderr=output) for command in commands]
            yield
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait(20)


def _wait_until_ready(server: Server, log: Path) -> None:
    for _ in range(240):
        try:
            server.send("GET", "/api/v1/namespaces/default")
            return
        except (AssertionError, OSError, urllib3.exceptions.HTTPError):
            time.sleep(0.25)
    raise AssertionError(f"kube-apiserver did not start: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
