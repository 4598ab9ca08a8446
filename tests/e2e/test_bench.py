"""What a bench asks of the sandbox and of a real kube-apiserver, with the documented role; the test plays the nodes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.servers import Server
from tests.e2e.test_kubernetes import event, node

IMAGE = "us-docker.pkg.dev/acme/serving/model:v2"
ROLE = Path(__file__).parents[2] / "docs" / "rbac" / "bench.yaml"
PODS, JOBS = "/api/v1/namespaces/default/pods", "/apis/batch/v1/namespaces/default/jobs"
LABEL = "?labelSelector=kubectl-imagecache/run"
SECONDS = {"plain": 42.5, "cached": 0.31}


class Nodes(threading.Thread):
    """Plays the scheduler and the kubelets: places each probe where it wants to be, and says that it was pulled."""

    def __init__(self, server: Server, pulling: bool = False) -> None:
        super().__init__(daemon=True)
        self.server, self.pulling = server, pulling
        self.done = threading.Event()
        self.specs: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self._met: set[str] = set()

    def run(self) -> None:
        try:
            while not self.done.wait(0.05):
                for pod in self.server.send("GET", PODS + LABEL)["items"]:
                    self._play(pod)
        except (AssertionError, KeyError, OSError) as error:
            self.error = error

    def _play(self, pod: dict[str, Any]) -> None:
        meta, path = pod["metadata"], f"{PODS}/{pod['metadata']['name']}"
        if meta.get("deletionTimestamp"):
            self.server.send("DELETE", path, {"gracePeriodSeconds": 0})
        if meta.get("deletionTimestamp") or meta["uid"] in self._met:
            return
        self._met.add(meta["uid"])
        self.specs.append(pod["spec"])
        (term,) = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
            "nodeSelectorTerms"
        ]
        name = term["matchFields"][0]["values"][0]
        target = {"apiVersion": "v1", "kind": "Node", "name": name}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]}, "target": target}
        self.server.send("POST", f"{path}/binding", binding)
        if not self.pulling:
            self._pulled(pod, name)

    def _pulled(self, pod: dict[str, Any], name: str) -> None:
        meta, seconds = pod["metadata"], SECONDS[name.partition("-")[0]]
        now = datetime.now(timezone.utc)
        made = event(f"{meta['name']}.1", meta["name"], f'Successfully pulled image "{IMAGE}" in {seconds}s')
        about = {"apiVersion": "v1", "kind": "Pod", "uid": meta["uid"], "namespace": "default", "name": meta["name"]}
        times = {"firstTimestamp": stamp(now), "lastTimestamp": stamp(now)}
        body = {**made, **times, "involvedObject": {**about, "fieldPath": "spec.containers{probe}"}}
        self.server.send("POST", "/api/v1/namespaces/default/events", {**body, "source": {"host": name}})
        over = {"exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z", "finishedAt": stamp(now)}
        state = {
            "name": "probe",
            "image": IMAGE,
            "imageID": "x",
            "containerID": "containerd://1",
            "ready": False,
            "restartCount": 0,
            "state": {"terminated": over},
        }
        placed = {
            "type": "PodScheduled",
            "status": "True",
            "lastTransitionTime": stamp(now - timedelta(seconds=round(seconds) + 1)),
        }
        status = {"phase": "Failed", "conditions": [placed], "containerStatuses": [state]}
        self.server.send("PATCH", f"{PODS}/{meta['name']}/status", {"status": status})


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def grant(server: Server, role: dict[str, Any]) -> None:
    """Give the viewer the rules of ROLE everywhere: events are read in two namespaces."""
    group, name = "rbac.authorization.k8s.io", role["metadata"]["name"]
    server.send("POST", f"/apis/{group}/v1/clusterroles", {**role, "kind": "ClusterRole"})
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"viewer-{name}"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "apiGroup": group, "name": "viewer"}],
    }
    server.send("POST", f"/apis/{group}/v1/clusterrolebindings", binding)


@pytest.fixture(scope="module")
def cluster(server: Server) -> Server:
    """Two pools of two Ready nodes each, and a user with the documented roles."""
    for role in yaml.safe_load_all(ROLE.read_text(encoding="utf-8")):
        grant(server, role)
    for pool, cached in (("plain", False), ("cached", True)):
        for number in range(2):
            name = f"{pool}-{number}"
            server.send("POST", "/api/v1/nodes", node(name, pool, cached))
            ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
            server.send("PATCH", f"/api/v1/nodes/{name}/status", {"status": {"conditions": [ready]}})
    return server


@pytest.fixture
def nodes(cluster: Server) -> Iterator[Nodes]:
    playing = Nodes(cluster)
    playing.start()
    yield playing
    playing.done.set()
    playing.join(20)
    assert playing.error is None


def begin(server: Server, *args: str) -> subprocess.Popen[str]:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(server.kubeconfig.parent),
        "KUBECONFIG": str(server.viewer_kubeconfig),
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        # Nothing listens there: Google can't be asked.
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER": "http://127.0.0.1:9/",
    }
    command = [sys.executable, "-m", "kubectl_imagecache", "bench", "--image", IMAGE, "--yes", "-o", "json", *args]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def left(server: Server) -> tuple[list[Any], list[Any]]:
    return server.send("GET", PODS + LABEL)["items"], server.send("GET", JOBS + LABEL)["items"]


def test_each_pull_is_measured_by_its_event_and_everything_is_taken_away(cluster: Server, nodes: Nodes) -> None:
    process = begin(cluster, "--pool", "plain", "--pool", "cached")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    plain, cached = json.loads(out)["pools"]
    assert (plain["pulls"], plain["firstSeconds"]["median"], plain["laterSeconds"]["median"]) == (2, 42.5, 42.5)
    assert (cached["pulls"], cached["method"], cached["ratioLater"]) == (2, "cache disk", round(42.5 / 0.31, 3))
    assert plain["facts"]["knownFrom"] == "nodes"
    running = [sample["runningSeconds"] for sample in json.loads(out)["samples"]]
    assert sorted(running) == [1.0, 1.0, 43.0, 43.0]
    assert left(cluster) == ([], [])
    assert len(nodes.specs) == 4
    assert {spec["containers"][0]["imagePullPolicy"] for spec in nodes.specs} == {"IfNotPresent"}


def test_ctrl_c_in_the_midst_of_a_pull_leaves_nothing(cluster: Server, nodes: Nodes) -> None:
    nodes.pulling = True
    process = begin(cluster, "--pool", "plain")
    while not nodes.specs:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)["endedEarly"]) == (130, "interrupted"), err
    assert left(cluster) == ([], [])


def test_after_kill_a_second_run_goes_on_and_takes_everything_away(cluster: Server, nodes: Nodes) -> None:
    nodes.pulling = True
    process = begin(cluster, "--pool", "cached", "--nodes", "1")
    while not nodes.specs:
        assert process.poll() is None
    process.kill()
    process.communicate(timeout=60)
    (pod,), (job,) = left(cluster)
    (owner,) = pod["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Job", job["metadata"]["uid"])
    nodes._pulled(pod, pod["metadata"]["annotations"]["kubectl-imagecache/node"])
    process = begin(cluster, "--pool", "cached", "--nodes", "1")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    found = json.loads(out)
    assert (found["run"], found["pools"][0]["pulls"]) == (job["metadata"]["labels"]["kubectl-imagecache/run"], 1)
    assert left(cluster) == ([], [])
