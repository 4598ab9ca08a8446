"""The real kubectl takes the sandbox for a cluster."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubectl_imagecache.sandbox.kube.access import Refusal
from tests.sandbox.kube.factories import Running, budget, node, pod, running, workload


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Running]:
    """Three nodes, a Deployment of four under a budget, a DaemonSet; all Ready. Time stands still."""
    with running(tmp_path) as served:
        for number in range(3):
            served.cluster.add_node(node(f"node-{number}"))
        served.cluster.create(workload("Deployment", "web", 4))
        served.cluster.create(workload("DaemonSet", "agent"))
        served.cluster.create(budget("web", minAvailable=3))
        served.advance(60)
        yield served


@pytest.fixture
def lively(tmp_path: Path) -> Iterator[Running]:
    """The same, with time that runs a hundred times as fast as ours."""
    with running(tmp_path, speed=100) as served:
        for number in range(3):
            served.cluster.add_node(node(f"node-{number}"))
        served.cluster.create(workload("Deployment", "web", 4))
        served.cluster.create(workload("DaemonSet", "agent"))
        served.advance(60)
        yield served


def lines(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()]


def test_get_nodes_wide_shows_what_a_gke_node_shows(cluster: Running) -> None:
    assert lines(cluster.kubectl("get", "nodes", "-o", "wide", "--no-headers"))[0] == [
        *("node-0", "Ready", "<none>", "60s", "v1.31.2-gke.1354000", "10.132.0.7", "<none>"),
        *("Container-Optimized", "OS", "from", "Google", "6.6.56+", "containerd://1.7.23"),
    ]


def test_get_pods_of_all_namespaces_in_chunks_shows_each_once(cluster: Running) -> None:
    table = lines(cluster.kubectl("get", "pods", "-A", "--no-headers", "--chunk-size=2"))
    assert [row[0] for row in table] == ["default"] * 7
    assert len({row[1] for row in table}) == 7
    assert {tuple(row[2:5]) for row in table} == {("1/1", "Running", "0")}


def test_get_pods_as_json_has_the_image_ids(cluster: Running) -> None:
    pods = json.loads(cluster.kubectl("get", "pods", "-A", "-o", "json", "--chunk-size=3"))["items"]
    found = {status["imageID"].partition("@")[0] for p in pods for status in p["status"]["containerStatuses"]}
    assert (len(pods), found) == (7, {"docker.io/library/nginx"})


def test_get_events_by_field_shows_the_pulls(cluster: Running) -> None:
    output = cluster.kubectl("get", "events", "--field-selector", "reason=Pulled", "--no-headers")
    assert len(lines(output)) == 7
    assert 'Successfully pulled image "nginx:1.27" in ' in output
    assert "Image size: 200000000 bytes." in output


def test_events_of_the_new_group_are_the_same_events(cluster: Running) -> None:
    old = json.loads(cluster.kubectl("get", "events", "-o", "json"))["items"]
    new = json.loads(cluster.kubectl("get", "events.events.k8s.io", "-o", "json"))["items"]
    assert [e["message"] for e in old] == [e["note"] for e in new]
    assert [e["involvedObject"]["name"] for e in old] == [e["regarding"]["name"] for e in new]


def test_get_all_kinds_of_workloads(cluster: Running) -> None:
    output = cluster.kubectl("get", "deploy,ds,pdb", "--no-headers")
    assert [row[:6] for row in lines(output) if row] == [
        ["deployment.apps/web", "4/4", "4", "4", "60s"],
        ["daemonset.apps/agent", "3", "3", "3", "3", "3"],
        ["poddisruptionbudget.policy/web", "3", "N/A", "1", "60s"],
    ]


def test_describe_node_lists_its_pods_and_requests(cluster: Running) -> None:
    output = cluster.kubectl("describe", "node", "node-0")
    assert "Kubelet Version:            v1.31.2-gke.1354000" in output
    assert "default                     agent-" in output
    assert "cpu                200m (5%)" in output or "cpu                300m (7%)" in output
    assert "Failed to get lease" not in output


def test_describe_pod_tells_its_events(cluster: Running) -> None:
    name = cluster.kubectl("get", "pods", "-l", "app=web", "-o", "name").split()[0]
    output = cluster.kubectl("describe", name)
    reasons = [row[1] for row in lines(output.partition("Events:")[2])[3:]]
    assert sorted(reasons) == ["Created", "Pulled", "Pulling", "Scheduled", "Started"]


def test_cordon_and_uncordon(cluster: Running) -> None:
    cluster.kubectl("cordon", "node-1")
    assert lines(cluster.kubectl("get", "node", "node-1", "--no-headers"))[0][1] == "Ready,SchedulingDisabled"
    cluster.kubectl("uncordon", "node-1")
    assert lines(cluster.kubectl("get", "node", "node-1", "--no-headers"))[0][1] == "Ready"


def test_label_annotate_and_taint_and_take_back(cluster: Running) -> None:
    cluster.kubectl("label", "node", "node-0", "team=a")
    cluster.kubectl("annotate", "node", "node-0", "note=x")
    cluster.kubectl("taint", "node", "node-0", "k=v:NoSchedule")
    found = json.loads(cluster.kubectl("get", "node", "node-0", "-o", "json"))
    assert found["metadata"]["labels"]["team"] == "a"
    assert found["metadata"]["annotations"] == {"note": "x"}
    assert found["spec"]["taints"] == [{"key": "k", "value": "v", "effect": "NoSchedule"}]
    cluster.kubectl("label", "node", "node-0", "team-")
    cluster.kubectl("annotate", "node", "node-0", "note-")
    cluster.kubectl("taint", "node", "node-0", "k-")
    found = json.loads(cluster.kubectl("get", "node", "node-0", "-o", "json"))
    assert ("team" in found["metadata"]["labels"], found["metadata"].get("annotations")) == (False, None)
    assert not found["spec"].get("taints")


def test_drain_moves_all_but_daemons(lively: Running) -> None:
    output = lively.kubectl("drain", "node-0", "--ignore-daemonsets", "--timeout=40s")
    assert "node/node-0 drained" in output
    left = json.loads(lively.kubectl("get", "pods", "--field-selector", "spec.nodeName=node-0", "-o", "json"))["items"]
    assert [p["metadata"]["labels"]["app"] for p in left] == ["agent"]
    lively.kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=30s")


def test_drain_refuses_daemons_and_lone_pods_unless_told(cluster: Running) -> None:
    cluster.cluster.create(pod("lone", nodeName="node-0"))
    output = cluster.kubectl("drain", "node-0", fails=True)
    assert "cannot delete DaemonSet-managed Pods" in output
    assert "cannot delete Pods that declare no controller" in output


def test_drain_says_which_budget_blocks(cluster: Running) -> None:
    cluster.kubectl("patch", "pdb", "web", "--type=merge", "-p", '{"spec":{"minAvailable":4}}')
    output = cluster.kubectl("drain", "node-0", "--ignore-daemonsets", "--timeout=2s", fails=True)
    assert "Cannot evict pod as it would violate the pod's disruption budget." in output


def test_delete_waits_until_the_pod_is_gone(lively: Running) -> None:
    name = lively.kubectl("get", "pods", "-l", "app=web", "-o", "name").split()[0]
    assert "deleted" in lively.kubectl("delete", name, "--timeout=30s")
    assert "not found" in lively.kubectl("get", name, fails=True)


def test_delete_by_label_removes_a_collection(lively: Running) -> None:
    lively.kubectl("scale", "deploy", "web", "--replicas=0")
    lively.kubectl("delete", "pods", "-l", "app=web", "--ignore-not-found", "--timeout=30s")
    assert lively.kubectl("get", "pods", "-l", "app=web", "-o", "name") == ""


MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: %s}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 2
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec: {containers: [{name: api, image: "redis:7"}]}
"""


def test_create_from_a_file_and_delete_again(cluster: Running) -> None:
    made = cluster.kubectl("create", "-f", "-", text=MANIFEST % "red")
    assert made.splitlines() == ["configmap/settings created", "deployment.apps/api created"]
    assert "already exists" in cluster.kubectl("create", "-f", "-", text=MANIFEST % "red", fails=True)
    gone = cluster.kubectl("delete", "-f", "-", text=MANIFEST % "red")
    assert gone.splitlines() == ['configmap "settings" deleted', 'deployment.apps "api" deleted']


def test_apply_changes_just_what_changed(cluster: Running) -> None:
    cluster.kubectl("apply", "-f", "-", text=MANIFEST % "red")
    again = cluster.kubectl("apply", "-f", "-", text=MANIFEST % "blue")
    assert again.splitlines() == ["configmap/settings configured", "deployment.apps/api unchanged"]
    assert cluster.kubectl("get", "cm", "settings", "-o", "jsonpath={.data}") == '{"colour":"blue"}'


def test_server_side_apply_refuses_fields_of_others_unless_forced(cluster: Running) -> None:
    one = ("apply", "--server-side", "--field-manager=one", "-f", "-")
    two = ("apply", "--server-side", "--field-manager=two", "-f", "-")
    cluster.kubectl(*one, text=MANIFEST % "red")
    refusal = cluster.kubectl(*two, text=MANIFEST % "blue", fails=True)
    assert 'conflict with "one": .data.colour' in refusal
    cluster.kubectl(*two, "--force-conflicts", text=MANIFEST % "blue")
    assert cluster.kubectl("get", "cm", "settings", "-o", "jsonpath={.data.colour}") == "blue"


def test_imperative_creates_are_read_though_they_are_protobuf(cluster: Running) -> None:
    cluster.kubectl("create", "configmap", "plain", "--from-literal=a=b")
    cluster.kubectl("create", "namespace", "team")
    assert cluster.kubectl("get", "cm", "plain", "-o", "jsonpath={.data}") == '{"a":"b"}'
    assert lines(cluster.kubectl("get", "ns", "team", "--no-headers"))[0][1] == "Active"


def test_scale_and_rollout_status(lively: Running) -> None:
    lively.kubectl("scale", "deploy", "web", "--replicas=6")
    assert "successfully rolled out" in lively.kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    lively.kubectl("set", "image", "deploy/web", "web=nginx:1.28")
    assert "successfully rolled out" in lively.kubectl("rollout", "status", "deploy/web", "--timeout=40s")
    pods = json.loads(lively.kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
    alive = [p for p in pods if "deletionTimestamp" not in p["metadata"]]
    assert [p["spec"]["containers"][0]["image"] for p in alive] == ["nginx:1.28"] * 6


def test_an_evicted_pods_namespace_goes_with_all_in_it(lively: Running) -> None:
    lively.kubectl("create", "namespace", "team")
    lively.kubectl("create", "-n", "team", "-f", "-", text=MANIFEST % "red")
    lively.kubectl("delete", "namespace", "team", "--timeout=40s")
    assert lively.cluster.objects("Pod", "team") == []
    assert lively.cluster.objects("ConfigMap", "team") == []


def test_label_selectors_of_all_operators(cluster: Running) -> None:
    def names(selector: str) -> set[str]:
        found = json.loads(cluster.kubectl("get", "nodes", "-l", selector, "-o", "json"))["items"]
        return {item["metadata"]["name"][-1] for item in found}

    cluster.kubectl("label", "node", "node-0", "size=1")
    cluster.kubectl("label", "node", "node-1", "size=5")
    assert names("size=1") == {"0"}
    assert names("size!=1") == {"1", "2"}
    assert names("size in (1,5)") == {"0", "1"}
    assert names("size notin (1)") == {"1", "2"}
    assert names("size") == {"0", "1"}
    assert names("!size") == {"2"}
    assert names("size in (1,5),size!=5") == {"0"}


def test_may_i_follows_the_refusals(cluster: Running) -> None:
    assert cluster.kubectl("auth", "can-i", "list", "pods").strip() == "yes"
    cluster.cluster.access.refusals.append(Refusal("list", "pods"))
    assert "no" in cluster.kubectl("auth", "can-i", "list", "pods", fails=True)
    refusal = cluster.kubectl("get", "pods", "-A", fails=True)
    assert 'User "sandbox-user" cannot list resource "pods" in API group "" at the cluster scope' in refusal


def test_unknown_names_and_kinds_are_told(cluster: Running) -> None:
    assert 'pods "nobody" not found' in cluster.kubectl("get", "pod", "nobody", fails=True)
    assert "the server doesn't have a resource type" in cluster.kubectl("get", "unicorns", fails=True)


def test_gkes_own_resources_can_be_applied(cluster: Running) -> None:
    manifest = {
        "apiVersion": "cloud.google.com/v1",
        "kind": "ComputeClass",
        "metadata": {"name": "gpu"},
        "spec": {"priorities": [{"storage": {"secondaryBootDisks": [{"diskImageName": "old", "project": "p"}]}}]},
    }
    cluster.kubectl("apply", "-f", "-", text=json.dumps(manifest))
    manifest["spec"]["priorities"][0]["storage"]["secondaryBootDisks"][0]["diskImageName"] = "new"  # type: ignore[index]
    cluster.kubectl("apply", "-f", "-", text=json.dumps(manifest))
    assert cluster.kubectl("get", "computeclass", "gpu", "-o", "json").count('"diskImageName": "new"') == 1


def test_watch_shows_changes_as_they_come(cluster: Running) -> None:
    output: list[str] = []
    thread = threading.Thread(
        target=lambda: output.append(cluster.kubectl("get", "nodes", "-w", "--no-headers", "--request-timeout=3s"))
    )
    thread.start()
    deadline = time.monotonic() + 10
    while not any("watch=true" in call.target for call in cluster.world.calls) and time.monotonic() < deadline:
        time.sleep(0.05)
    cluster.call("PATCH", "/api/v1/nodes/node-2", {"spec": {"unschedulable": True}}, "application/merge-patch+json")
    thread.join()
    assert lines(output[0])[-1][:2] == ["node-2", "Ready,SchedulingDisabled"]
