"""A whole roll by the real executable: GKE is the sandbox's, Kubernetes the sandbox's or a real kube-apiserver.

What else a cluster has (kubelets, a controller, the budgets' controller) a thread plays, the same on both.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kubectl_imagecache.core.pools import POOL_LABEL
from kubectl_imagecache.sandbox.clock import EPOCH, VirtualClock
from kubectl_imagecache.sandbox.cloud import Cloud
from kubectl_imagecache.sandbox.http import Service, World
from kubectl_imagecache.sandbox.kube.node_cache import NodeCache
from tests.e2e.servers import Server
from tests.e2e.test_kubernetes import pod
from tests.e2e.test_roll import bind
from tests.usecases.roll_stage import NEW, OLD, SCALING, pool_json

PODS, BUDGETS = "/api/v1/namespaces/shop/pods", "/apis/policy/v1/namespaces/shop/poddisruptionbudgets"
REPLICAS, LEAST = 3, 2
SPEED = 60.0
"""Seconds of GKE's time in one of ours."""


class Registrar:
    """Registers the nodes that GKE makes with an API server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def add_node(self, node: dict[str, Any], cache: NodeCache, kubelet_s: float = 0.0) -> None:
        assert kubelet_s == 0, "nodes are Ready at once here"
        self._server.send("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", **node})
        status = {key: node["status"][key] for key in ("conditions", "capacity", "allocatable")}
        self._server.send("PATCH", f"/api/v1/nodes/{node['metadata']['name']}/status", {"status": status})

    def remove_node(self, name: str) -> None:
        self._server.send("DELETE", f"/api/v1/nodes/{name}")


class Hands:
    """Kubelets, a controller of three pods, and the controller of their budget, in one thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._made = 0
        self.fewest = REPLICAS
        """Ready pods that there were at one time, at the least."""
        self.trouble: list[BaseException] = []

    def __enter__(self) -> Hands:
        self._move(first=True)
        self._thread.start()
        return self

    def __exit__(self, *rest: object) -> None:
        self._end.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._end.wait(0.2):
            try:
                self._move()
            except BaseException as error:  # noqa: BLE001 (shown by the test, which would else only time out)
                self.trouble.append(error)
                return

    def _move(self, first: bool = False) -> None:
        # The budget is read first: if an eviction then changes it, what was counted is too old to be written.
        budget = self._server.send("GET", f"{BUDGETS}/front")
        pods = self._server.send("GET", PODS)["items"]
        for one in pods:
            if "deletionTimestamp" in one["metadata"]:
                self._server.ask("DELETE", f"{PODS}/{one['metadata']['name']}", {"gracePeriodSeconds": 0})
        here = [one for one in pods if "deletionTimestamp" not in one["metadata"]]
        if not first:
            self.fewest = min(self.fewest, len(here))
        self._judge(budget, len(here))
        nodes = [
            one for one in self._server.send("GET", "/api/v1/nodes")["items"] if not one["spec"].get("unschedulable")
        ]
        for _ in range(REPLICAS - len(here) if nodes else 0):
            self._run(nodes[self._made % len(nodes)]["metadata"]["name"])

    def _run(self, node: str) -> None:
        name = f"front-{self._made}"
        self._made += 1
        owner = {"apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet", "name": "front", "uid": "1"}
        body = pod(name, "gcr.io/acme/web:v1", node, {"app": "front"})
        body["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
        self._server.send("POST", PODS, body)
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        self._server.send("PATCH", f"{PODS}/{name}/status", {"status": status})

    def _judge(self, budget: dict[str, Any], healthy: int) -> None:
        status = {
            "observedGeneration": budget["metadata"].get("generation", 1),
            "disruptionsAllowed": max(0, healthy - LEAST),
            "currentHealthy": healthy,
            "desiredHealthy": LEAST,
            "expectedPods": REPLICAS,
        }
        metadata = {"resourceVersion": budget["metadata"]["resourceVersion"]}
        self._server.ask("PATCH", f"{BUDGETS}/front/status", {"metadata": metadata, "status": status})


@contextmanager
def gke(server: Server) -> Iterator[tuple[Cloud, dict[str, str]]]:
    """GKE and Compute with a cluster `shop` and a pool `web` of two nodes, and the variables that lead to them."""
    world = World(VirtualClock(EPOCH, SPEED))
    cloud = Cloud(world, Registrar(server))
    for disk in (OLD, NEW):
        cloud.add_image({"name": disk.name, "diskSizeGb": "10", "architecture": "X86_64"})
    cloud.add_cluster("shop", "europe-west4")
    cloud.add_pool("shop", pool_json(2))
    services = [
        Service("gke", world, cloud.handle_gke, cloud.error),
        Service("compute", world, cloud.handle_compute, cloud.error),
    ]
    for service in services:
        service.start()
    ended = threading.Event()

    def pass_time() -> None:
        while not ended.wait(0.1):
            with world.lock:
                world.clock.catch_up()
                world.changed.notify_all()

    time = threading.Thread(target=pass_time)
    time.start()
    try:
        yield (
            cloud,
            {
                "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER": f"{services[0].url}/",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{services[1].url}/compute/v1/",
            },
        )
    finally:
        ended.set()
        time.join()
        for service in services:
            service.stop()


@pytest.fixture(scope="module")
def shop(server: Server) -> Server:
    """A namespace with a budget, and a user who may do what docs/rbac/roll.yaml says."""
    bind(server, "roll")
    server.send("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    spec = {"minAvailable": LEAST, "selector": {"matchLabels": {"app": "front"}}}
    metadata = {"name": "front", "namespace": "shop"}
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec}
    server.send("POST", BUDGETS, budget)
    return server


def test_a_pool_is_rolled_by_a_user_with_the_documented_role_and_its_budget_holds(shop: Server, tmp_path: Path) -> None:
    with gke(shop) as (cloud, variables), Hands(shop) as hands:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "KUBECONFIG": str(shop.viewer_kubeconfig),
            **variables,
        }
        where = ("--project", "sandbox-project", "--location", "europe-west4", "--cluster-name", "shop")
        command = [sys.executable, "-m", "kubectl_imagecache", "roll", "web", "--disk-image", NEW.name, "--yes", *where]
        answer = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
        assert (answer.returncode, answer.stderr, hands.trouble) == (0, "", []), answer.stdout
        assert answer.stdout.splitlines()[-1].endswith("web is replaced by web-r2")
        (pool,) = cloud.state.collection(f"{cloud.cluster_path('shop')}/nodePools").values()
    assert (pool["name"], pool["status"], pool["autoscaling"]) == ("web-r2", "RUNNING", SCALING)
    nodes = {one["metadata"]["name"]: one for one in shop.send("GET", "/api/v1/nodes")["items"]}
    assert {one["metadata"]["labels"][POOL_LABEL] for one in nodes.values()} == {"web-r2"}
    pods = [one for one in shop.send("GET", PODS)["items"] if "deletionTimestamp" not in one["metadata"]]
    assert [one["spec"]["nodeName"] in nodes for one in pods] == [True] * REPLICAS
    assert hands.fewest == LEAST
