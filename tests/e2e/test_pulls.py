"""Pulls told from both groups of events and followed live, from the sandbox and from a real kube-apiserver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.servers import Server
from tests.e2e.test_kubernetes import imagecache, node

IMAGE = "us-docker.pkg.dev/acme/serving/model:v2"
MODEL_S, LIVE_S = 43.2, 4.879


def pulled(seconds: float, waiting: float) -> str:
    text = f'Successfully pulled image "{IMAGE}" in {seconds}s ({waiting}s including waiting).'
    return f"{text} Image size: 2000000000 bytes."


def event(name: str, on: str, reason: str, message: str) -> dict[str, Any]:
    about = {"apiVersion": "v1", "kind": "Pod", "name": name.split(".")[0], "namespace": "default"}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "default"},
        "involvedObject": about | {"fieldPath": "spec.containers{main}"},
        "reason": reason,
        "message": message,
        "type": "Normal",
        "source": {"component": "kubelet", "host": on},
        "firstTimestamp": "2026-01-15T09:00:00Z",
        "lastTimestamp": "2026-01-15T09:00:00Z",
        "count": 1,
    }


def newer_event(name: str, on: str, reason: str, note: str) -> dict[str, Any]:
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "default"},
        "regarding": {"apiVersion": "v1", "kind": "Pod", "name": name.split(".")[0], "namespace": "default"},
        "reason": reason,
        "note": note,
        "type": "Normal",
        "action": "Pulling",
        "eventTime": "2026-01-15T09:01:00.000000Z",
        "reportingController": "kubelet",
        "reportingInstance": on,
    }


EVENTS, NEWER = "/api/v1/namespaces/default/events", "/apis/events.k8s.io/v1/namespaces/default/events"


@pytest.fixture(scope="module")
def cluster(server: Server) -> Server:
    """Two nodes; a pull told in the old group, one in the new group, a failed one."""
    for body in (node("gpu-1", "gpu", False), node("gpu-2", "gpu", False)):
        server.send("POST", "/api/v1/nodes", body)
    server.send("POST", EVENTS, event("model-0.1", "gpu-1", "Pulled", pulled(MODEL_S, 45.0)))
    server.send("POST", NEWER, newer_event("model-1.1", "gpu-2", "Pulled", pulled(41.0, 41.0)))
    failed = 'Failed to pull image "acme/none:1": rpc error: not found'
    server.send("POST", EVENTS, event("none-0.1", "gpu-1", "Failed", failed))
    return server


def pulls_of(document: dict[str, Any]) -> set[tuple[str, str, float]]:
    return {(pull["node"], pull["turn"], pull["seconds"]) for pull in document["pulls"]}


def test_events_of_both_groups_tell_pulls(cluster: Server) -> None:
    found = json.loads(imagecache(cluster.kubeconfig, "pulls", "-o", "json").stdout)
    assert pulls_of(found) == {("gpu-1", "first", MODEL_S), ("gpu-2", "later", 41.0)}
    (group,) = found["groups"]
    assert (group["name"], group["failed"]) == ("gpu", 1)


def test_a_watch_hears_what_comes_and_its_file_tells_it_again(cluster: Server, tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    command = [sys.executable, "-m", "kubectl_imagecache", "pulls", "-o", "json", "--watch", str(file), "--for", "12s"]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(cluster.kubeconfig)}
    env |= {"CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true"}
    env |= {"CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER": "http://127.0.0.1:9/"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        teller = threading.Thread(target=_tell_once_watched, args=(cluster, file))
        teller.start()
        out, err = watching.communicate(timeout=120)
        teller.join()
    assert watching.returncode == 0, err
    watched = json.loads(out)
    assert ("gpu-2", "again", LIVE_S) in pulls_of(watched)
    again = json.loads(imagecache(cluster.kubeconfig, "pulls", "-o", "json", "--from", str(file)).stdout)
    assert again["pulls"] == watched["pulls"]


def _tell_once_watched(cluster: Server, file: Path) -> None:
    """Tell of one more pull as soon as the recording holds those that were there before."""
    for _ in range(240):
        if file.exists() and "model-1" in file.read_text():
            break
        time.sleep(0.05)
    cluster.send("POST", NEWER, newer_event("live-0.1", "gpu-2", "Pulled", pulled(LIVE_S, LIVE_S)))
