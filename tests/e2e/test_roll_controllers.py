"""A whole roll among the real controllers and the real scheduler: the test plays GKE and the kubelets alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from kubectl_imagecache.core.pools import POOL_LABEL
from tests.e2e import servers
from tests.e2e.servers import Server
from tests.e2e.test_roll import bind
from tests.e2e.test_roll_whole import gke
from tests.usecases.roll_stage import NEW, SCALING, budget, controller

NO_CONTROLLERS = f"no real {' and '.join(servers.CONTROLLERS)}: KUBEBUILDER_ASSETS names no folder with them"
PODS, NODES = "/api/v1/pods", "/api/v1/nodes"
REPLICAS, LEAST = 6, 5


class Kubelets(threading.Thread):
    """Runs what the scheduler has placed, and ends what is deleted after a second."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._ended = threading.Event()
        self.broken: Callable[[dict[str, Any]], bool] = lambda pod: False
        """Whether a pod that is placed never becomes Ready."""
        self.fewest = REPLICAS
        """Ready pods of `front` that there were at one time, at the least, once all had been."""
        self.trouble: BaseException | None = None
        self._whole = False

    def run(self) -> None:
        try:
            while not self._ended.wait(0.1):
                pods = self._server.send("GET", PODS)["items"]
                ready = sum(_ready(one) for one in pods if one["metadata"]["labels"].get("app") == "front")
                self._whole = self._whole or ready == REPLICAS
                self.fewest = min(self.fewest, ready) if self._whole else self.fewest
                for one in pods:
                    self._tend(one)
        except BaseException as error:  # noqa: BLE001 (shown by the test, which would else only time out)
            self.trouble = error

    def close(self) -> None:
        self._ended.set()
        self.join()

    def _tend(self, pod: dict[str, Any]) -> None:
        meta, path = (
            pod["metadata"],
            f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}",
        )
        if "nodeName" not in pod["spec"]:
            return
        if "deletionTimestamp" in meta:
            asked = datetime.fromisoformat(meta["deletionTimestamp"].replace("Z", "+00:00"))
            since_s = (datetime.now(timezone.utc) - asked).total_seconds() + meta.get("deletionGracePeriodSeconds", 0)
            if since_s >= 1:
                self._server.ask("DELETE", path, {"gracePeriodSeconds": 0})
        elif pod["status"].get("phase") == "Pending" and not self.broken(pod):
            conditions = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady", "Initialized")]
            self._server.ask("PATCH", f"{path}/status", {"status": {"phase": "Running", "conditions": conditions}})


def _ready(pod: dict[str, Any]) -> bool:
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real API server with real controllers and scheduler, and a user who may do what docs/rbac/roll.yaml says."""
    if not all(servers.ASSETS and (Path(servers.ASSETS) / name).exists() for name in servers.CONTROLLERS):
        pytest.skip(NO_CONTROLLERS)
    folder = tmp_path_factory.mktemp("town")
    with servers.kube_apiserver(folder) as server, servers.controllers(folder, server):
        bind(server, "roll")
        yield server


@contextmanager
def stage(
    town: Server, folder: Path
) -> Iterator[tuple[Any, Kubelets, Callable[..., subprocess.CompletedProcess[str]]]]:
    """The pool `web` of two nodes and on it a Deployment with a budget, a StatefulSet and a DaemonSet, all Ready."""
    with gke(town) as (cloud, variables):
        kubelets = Kubelets(town)
        kubelets.start()
        try:
            select = {"role": "web"}
            bodies = [controller("Deployment", "front", select, REPLICAS), controller("DaemonSet", "agent", {})]
            base = controller("Deployment", "db", select, 2)
            bodies.append({**base, "kind": "StatefulSet", "spec": {**base["spec"], "serviceName": "db"}})
            for body in bodies:
                town.send("POST", f"/apis/apps/v1/namespaces/default/{body['kind'].lower()}s", body)
            town.send("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", budget("front", LEAST))
            _until(lambda: _allowed(town) == 1 and Counter(_where(town).values()) == {"web": REPLICAS + 2 + 2})
            env = {
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "KUBECONFIG": str(town.viewer_kubeconfig),
            } | variables
            where = ("--project", "sandbox-project", "--location", "europe-west4", "--cluster-name", "shop")

            def roll(*arguments: str) -> subprocess.CompletedProcess[str]:
                command = [sys.executable, "-m", "kubectl_imagecache", "roll", "web", *arguments, "--yes", *where]
                return subprocess.run(command, env=env, capture_output=True, text=True, timeout=280)

            yield cloud, kubelets, roll
            assert kubelets.trouble is None
        finally:
            for kind in ("deployments/front", "statefulsets/db", "daemonsets/agent"):
                town.ask("DELETE", f"/apis/apps/v1/namespaces/default/{kind}", {"propagationPolicy": "Background"})
            town.ask("DELETE", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/front", {})
            _until(lambda: not town.send("GET", PODS)["items"])
            kubelets.close()
            for one in town.send("GET", NODES)["items"]:
                town.ask("DELETE", f"{NODES}/{one['metadata']['name']}", {})


def _until(true: Callable[[], bool], within_s: float = 120) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "the cluster did not come to rest"
        time.sleep(0.2)


def _allowed(town: Server) -> int:
    found = town.send("GET", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/front")
    return int(found.get("status", {}).get("disruptionsAllowed", 0))


def _where(town: Server) -> dict[str, str]:
    """The pool of each Ready pod, by its name."""
    nodes = {one["metadata"]["name"]: one["metadata"]["labels"] for one in town.send("GET", NODES)["items"]}
    pods = [one for one in town.send("GET", PODS)["items"] if _ready(one)]
    return {one["metadata"]["name"]: nodes.get(one["spec"]["nodeName"], {}).get(POOL_LABEL, "none") for one in pods}


def test_real_controllers_refill_what_a_roll_evicts_within_the_budget(town: Server, tmp_path: Path) -> None:
    with stage(town, tmp_path) as (cloud, kubelets, roll):
        answer = roll("--disk-image", NEW.name)
        assert (answer.returncode, answer.stderr) == (0, ""), answer.stdout
        (pool,) = cloud.state.collection(f"{cloud.cluster_path('shop')}/nodePools").values()
        assert (pool["name"], pool["status"], pool["autoscaling"]) == ("web-r2", "RUNNING", SCALING)
        _until(lambda: Counter(_where(town).values()) == {"web-r2": REPLICAS + 2 + 2})
        assert kubelets.fewest == LEAST


def test_replacements_that_never_get_ready_stop_a_roll_that_is_then_rolled_back(town: Server, tmp_path: Path) -> None:
    with stage(town, tmp_path) as (cloud, kubelets, roll):
        kubelets.broken = lambda pod: pod["metadata"]["labels"].get("app") == "db" and "-r2-" in pod["spec"]["nodeName"]
        stopped = roll("--disk-image", NEW.name, "--gate-timeout", "20s")
        assert stopped.returncode == 5, stopped.stdout
        back = roll("--rollback")
        kubelets.broken = lambda pod: False
        assert (back.returncode, back.stderr) == (0, ""), back.stdout
        (pool,) = cloud.state.collection(f"{cloud.cluster_path('shop')}/nodePools").values()
        assert (pool["name"], pool["status"], pool["autoscaling"]) == ("web", "RUNNING", SCALING)
        _until(lambda: Counter(_where(town).values()) == {"web": REPLICAS + 2 + 2})
        assert kubelets.fewest == LEAST
