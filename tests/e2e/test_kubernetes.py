"""What status reads from Kubernetes alone, by the real executable, from the sandbox and from a real kube-apiserver."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.core.factories import digest
from tests.e2e.servers import Server

LABEL = "cloud.google.com.node-restriction.kubernetes.io/gke-secondary-boot-disk-cache-1"
MODEL, WEB = "us-docker.pkg.dev/acme/serving/model:v2", "gcr.io/acme/web:v1"


def imagecache(kubeconfig: Path, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(kubeconfig.parent),
        "KUBECONFIG": str(kubeconfig),
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        # Nothing listens there: Google can't be asked.
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER": "http://127.0.0.1:9/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": "http://127.0.0.1:9/compute/v1/",
    }
    command = [sys.executable, "-m", "kubectl_imagecache", *arguments]
    answer = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert answer.returncode == status, answer.stderr
    assert "Traceback" not in answer.stderr
    return answer


def pools(server: Server, *arguments: str) -> dict[str, Any]:
    answer = imagecache(server.kubeconfig, "status", "-o", "json", *arguments)
    return {pool["name"]: pool for pool in json.loads(answer.stdout)["pools"]}


def node(name: str, pool: str, cached: bool) -> dict[str, Any]:
    labels = {"cloud.google.com/gke-nodepool": pool, "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name}
    if cached:
        labels |= {LABEL: "CONTAINER_IMAGE_CACHE.acme", "cloud.google.com/gke-image-streaming": "true"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


def pod(name: str, image: str, node_name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    spec = {"containers": [{"name": "main", "image": image}]} | ({"nodeName": node_name} if node_name else {})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def run(server: Server, namespace: str, body: dict[str, Any], image_id: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    server.send("POST", path, body)
    name, container = body["metadata"]["name"], body["spec"]["containers"][0]
    state = {
        "name": "main",
        "image": container["image"],
        "imageID": image_id,
        "ready": True,
        "restartCount": 0,
        "started": True,
        "state": {"running": {"startedAt": "2026-01-15T09:00:00Z"}},
    }
    server.send("PATCH", f"{path}/{name}/status", {"status": {"phase": "Running", "containerStatuses": [state]}})


def event(name: str, pod_name: str, message: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "default"},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": pod_name, "namespace": "default"},
        "reason": "Pulled",
        "message": message,
        "type": "Normal",
        "source": {"component": "kubelet", "host": "gpu-1"},
        "firstTimestamp": "2026-01-15T09:00:00Z",
        "lastTimestamp": "2026-01-15T09:00:00Z",
        "count": 1,
    }


@pytest.fixture(scope="module")
def cluster(server: Server) -> Server:
    """Two pools, one with a cache disk; running, waiting, system and completed pods; templates that run nothing."""
    for body in (node("gpu-1", "gpu", True), node("gpu-2", "gpu", True), node("cpu-1", "cpu", False)):
        server.send("POST", "/api/v1/nodes", body)
    size = {"images": [{"names": [f"gcr.io/acme/web@{digest('web')}", WEB], "sizeBytes": 123_000_000}]}
    server.send("PATCH", "/api/v1/nodes/cpu-1/status", {"status": size})
    for index, node_name in enumerate(("gpu-1", "gpu-1", "gpu-2")):
        image_id = f"us-docker.pkg.dev/acme/serving/model@{digest('model')}"
        run(server, "default", pod(f"model-{index}", MODEL, node_name, {"app": "model"}), image_id)
    run(server, "default", pod("web-0", WEB, "cpu-1", {"app": "web"}), f"gcr.io/acme/web@{digest('web')}")
    run(server, "kube-system", pod("dns-0", "gke.gcr.io/dns:v1", "cpu-1"), f"gke.gcr.io/dns@{digest('dns')}")
    waiting = pod("waiting", WEB, "")
    waiting["spec"]["nodeSelector"] = {"cloud.google.com/gke-nodepool": "gpu"}
    server.send("POST", "/api/v1/namespaces/default/pods", waiting)
    server.send("POST", "/api/v1/namespaces/default/pods", pod("done", "gcr.io/acme/job:v1", "cpu-1"))
    server.send("PATCH", "/api/v1/namespaces/default/pods/done/status", {"status": {"phase": "Succeeded"}})
    pulled = f'Successfully pulled image "{MODEL}" in 43.2s (45s including waiting). Image size: 2000000000 bytes.'
    server.send("POST", "/api/v1/namespaces/default/events", event("model-0.1", "model-0", pulled))
    template = {
        "metadata": {"labels": {"app": "idle"}},
        "spec": {
            "nodeSelector": {"cloud.google.com/gke-nodepool": "gpu"},
            "containers": [{"name": "main", "image": "gcr.io/acme/idle:v1"}],
        },
    }
    idle = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "idle"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "idle"}}, "template": template},
    }
    server.send("POST", "/apis/apps/v1/namespaces/default/deployments", idle)
    return server


def uses(pool: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {use["image"]: (use["pods"], use["nodes"]) for use in pool["uses"]}


def test_nodes_tell_pools_and_cache_disks_without_google(cluster: Server) -> None:
    found = pools(cluster)
    assert {name: pool["state"] for name, pool in found.items()} == {"cpu": "NONE", "gpu": "UNKNOWN"}
    assert found["gpu"]["nodes"] == 2
    assert "disk-image-not-read" in {reason["code"] for reason in found["gpu"]["reasons"]}


def test_pods_are_counted_by_image_and_pool(cluster: Server) -> None:
    found = pools(cluster)
    assert uses(found["gpu"]) == {MODEL: (3, 2), WEB: (1, 0)}
    assert uses(found["cpu"]) == {WEB: (1, 1)}


def test_system_namespaces_count_when_asked(cluster: Server) -> None:
    assert uses(pools(cluster, "--system")["cpu"]) == {WEB: (1, 1), "gke.gcr.io/dns:v1": (1, 1)}


def test_namespaces_and_labels_narrow_what_counts(cluster: Server) -> None:
    assert uses(pools(cluster, "-n", "kube-system")["cpu"]) == {"gke.gcr.io/dns:v1": (1, 1)}
    assert uses(pools(cluster, "-l", "app=model")["gpu"]) == {MODEL: (3, 2)}


def test_templates_that_run_nothing_count_when_asked(cluster: Server) -> None:
    assert uses(pools(cluster, "--include-templates")["gpu"])["gcr.io/acme/idle:v1"] == (0, 0)


def test_a_measured_pull_is_believed(cluster: Server) -> None:
    cold_start = pools(cluster, "-l", "app=model")["gpu"]["coldStart"]
    assert (cold_start["basis"], cold_start["seconds"]) == ("measured", pytest.approx(43.2))


def test_what_google_could_not_tell_is_said(cluster: Server) -> None:
    answer = imagecache(cluster.kubeconfig, "status")
    assert "warning" in answer.stderr


def test_a_wrong_context_and_an_unknown_pool_get_the_nearest_name(cluster: Server) -> None:
    wrong = imagecache(cluster.kubeconfig, "status", "--context", "tset", status=1)
    assert re.search(r"(?m)^error: .*tset.*\n(hint: .*test.*)", wrong.stderr)
    unknown = imagecache(cluster.kubeconfig, "status", "gpuu", status=1)
    assert unknown.stderr.splitlines()[-2:] == ["error: no node pool 'gpuu' in this cluster", "hint: did you mean gpu?"]


def test_more_pods_than_a_page_are_all_counted(cluster: Server) -> None:
    for index in range(520):
        body = pod(f"many-{index}", "gcr.io/acme/many:v1", "cpu-1", {"app": "many"})
        cluster.send("POST", "/api/v1/namespaces/default/pods", body)
    assert uses(pools(cluster, "-l", "app=many")["cpu"]) == {"gcr.io/acme/many:v1": (520, 1)}


def test_a_bundle_says_the_same_as_the_cluster(cluster: Server, tmp_path: Path) -> None:
    live = imagecache(cluster.kubeconfig, "status", "-o", "json", "--save", str(tmp_path / "bundle"))
    read = imagecache(cluster.kubeconfig, "status", "-o", "json", "--from", str(tmp_path / "bundle"))
    live_pools = [(p["name"], uses(p)) for p in json.loads(live.stdout)["pools"]]
    assert [(p["name"], uses(p)) for p in json.loads(read.stdout)["pools"]] == live_pools


def test_the_documented_role_is_enough_and_less_is_said(server: Server) -> None:
    refused = imagecache(server.viewer_kubeconfig, "status", status=1)
    assert "not permitted: list" in refused.stderr
    role = yaml.safe_load((Path(__file__).parents[2] / "docs" / "rbac" / "viewer.yaml").read_text())
    server.send("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "viewer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "imagecache-viewer"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "viewer"}],
    }
    server.send("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    answer = imagecache(server.viewer_kubeconfig, "status", "--include-templates", "-o", "json")
    assert not [gap for gap in json.loads(answer.stdout)["gaps"] if "not permitted" in gap["why"]]
