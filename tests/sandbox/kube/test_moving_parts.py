"""Scheduler, kubelets, controllers and evictions, in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.sandbox.kube.factories import (
    Obj,
    Running,
    budget,
    digest,
    messages,
    node,
    pod,
    running,
    template,
    workload,
)

PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as started:
        yield started


def pods(served: Running, app: str) -> list[Obj]:
    return [p for p in served.cluster.objects("Pod") if p["metadata"].get("labels", {}).get("app") == app]


def ready(obj: Obj) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in obj.get("status", {}).get("conditions") or ())


def evict(served: Running, name: str) -> tuple[int, Obj]:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"}}
    return served.call("POST", f"{PODS}/{name}/eviction", body)


def test_a_node_becomes_ready_after_its_boot_and_takes_pods_then(served: Running) -> None:
    served.cluster.add_node(node("n", ready=False))
    served.cluster.create(pod("p"))
    served.advance(5)
    assert not ready(served.cluster.objects("Node")[0])
    assert "node(s) had untolerated taint {node.kubernetes.io/not-ready: }" in messages(served, "FailedScheduling")[0]
    served.advance(60)
    assert ready(served.cluster.objects("Node")[0])
    assert ready(served.cluster.objects("Pod")[0])


def test_a_node_that_takes_its_time_registers_not_ready_and_says_since_when_it_is(served: Running) -> None:
    served.cluster.add_node(node("n"), kubelet_s=40)
    served.cluster.create(pod("p"))
    registered = ready_condition(served)
    assert (registered["status"], registered["reason"]) == ("False", "KubeletNotReady")
    served.advance(39)
    assert ready_condition(served) == registered
    assert not served.cluster.objects("Pod")[0]["spec"].get("nodeName")
    served.advance(20)
    booted = ready_condition(served)
    assert (booted["status"], booted["reason"]) == ("True", "KubeletReady")
    began, ended = (datetime.fromisoformat(c["lastTransitionTime"][:-1]) for c in (registered, booted))
    assert (ended - began).total_seconds() == 40
    assert ready(served.cluster.objects("Pod")[0])


def ready_condition(served: Running) -> Obj:
    conditions: list[Obj] = served.cluster.objects("Node")[0]["status"]["conditions"]
    return next(dict(condition) for condition in conditions if condition["type"] == "Ready")


def test_a_started_pod_tells_its_image_and_the_node_keeps_it(served: Running) -> None:
    served.cluster.add_node(node("n"))
    served.cluster.create(pod("p", "nginx:1.27"))
    served.advance(60)
    status = served.cluster.objects("Pod")[0]["status"]
    container = status["containerStatuses"][0]
    assert (status["phase"], container["ready"]) == ("Running", True)
    assert container["image"] == "docker.io/library/nginx:1.27"
    expected = digest("docker.io/library/nginx:1.27")
    assert container["imageID"] == f"docker.io/library/nginx@{expected}"
    assert served.cluster.objects("Node")[0]["status"]["images"] == [
        {
            "names": [f"docker.io/library/nginx@{expected}", "docker.io/library/nginx:1.27"],
            "sizeBytes": 200_000_000,
        }
    ]


def test_an_unknown_image_backs_off(served: Running) -> None:
    served.cluster.add_node(node("n"))
    served.cluster.create(pod("p", "missing:1"))
    served.advance(5)
    status = served.cluster.objects("Pod")[0]["status"]
    assert (status["phase"], status["containerStatuses"][0]["imageID"]) == ("Pending", "")
    assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff"
    failures = messages(served, "Failed")
    assert failures[0].endswith("docker.io/library/missing:1: not found")
    assert failures[1:] == ["Error: ErrImagePull", "Error: ImagePullBackOff"]
    served.advance(100)
    assert len(messages(served, "Pulling")) == 4


def test_init_containers_and_sidecars_come_first(served: Running) -> None:
    served.cluster.add_node(node("n"))
    made = pod("p")
    made["spec"]["initContainers"] = [
        {"name": "setup", "image": "setup:1"},
        {"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"},
    ]
    served.cluster.create(made)
    served.advance(90)
    assert [m.partition('"')[2].partition('"')[0] for m in messages(served, "Pulled")] == [
        "setup:1",
        "proxy:1",
        "nginx:1.27",
    ]
    status = served.cluster.objects("Pod")[0]["status"]
    assert ready(served.cluster.objects("Pod")[0])
    assert ["terminated" in s["state"] for s in status["initContainerStatuses"]] == [True, False]


def test_pods_go_only_where_they_may(served: Running) -> None:
    served.cluster.add_node(node("plain"))
    tainted = node("tainted", zone="a")
    tainted["spec"]["taints"] = [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]
    served.cluster.add_node(tainted)
    expression = {"key": "zone", "operator": "In", "values": ["a", "b"]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    tolerations = [{"key": "gpu", "operator": "Exists"}]
    served.cluster.create(pod("free"))
    served.cluster.create(pod("bound", nodeSelector={"zone": "a"}, tolerations=tolerations))
    served.cluster.create(pod("affine", affinity=affinity, tolerations=tolerations))
    served.cluster.create(pod("intolerant", nodeSelector={"zone": "a"}))
    served.cluster.create(pod("lost", nodeSelector={"zone": "c"}))
    served.advance(5)
    placed = {p["metadata"]["name"]: p["spec"].get("nodeName") for p in served.cluster.objects("Pod")}
    assert placed == {"free": "plain", "bound": "tainted", "affine": "tainted", "intolerant": None, "lost": None}
    assert (
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
        "1 node(s) had untolerated taint {gpu: yes}. preemption: 0/2 nodes are available: "
        "2 Preemption is not helpful for scheduling."
    ) in messages(served, "FailedScheduling")


def test_pods_that_shun_each_other_need_a_node_each(served: Running) -> None:
    for name in ("a", "b"):
        served.cluster.add_node(node(name))
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    served.cluster.create(workload("Deployment", "web", 3, template=template("web", affinity=affinity)))
    served.advance(60)
    assert sorted(str(p["spec"].get("nodeName")) for p in pods(served, "web")) == ["None", "a", "b"]


def test_a_full_node_takes_no_more(served: Running) -> None:
    served.cluster.add_node(node("n"))
    big = pod("a")
    big["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "3"}}
    served.cluster.create(big)
    served.cluster.create({**big, "metadata": {"name": "b"}})
    served.advance(5)
    assert [p["spec"].get("nodeName") for p in served.cluster.objects("Pod")] == ["n", None]
    assert "1 Insufficient cpu" in messages(served, "FailedScheduling")[0]
    served.call("DELETE", f"{PODS}/a")
    served.advance(60)
    assert [p["spec"].get("nodeName") for p in served.cluster.objects("Pod")] == ["n"]


def test_evictions_stop_where_the_budget_ends(served: Running) -> None:
    for name in ("a", "b"):
        served.cluster.add_node(node(name))
    served.cluster.create(workload("Deployment", "web", 3))
    served.cluster.create(budget("web", minAvailable=2))
    served.advance(60)
    first, second, _ = (p["metadata"]["name"] for p in pods(served, "web"))
    assert evict(served, first) == (
        201,
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201},
    )
    assert evict(served, second) == (
        429,
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": "Cannot evict pod as it would violate the pod's disruption budget.",
            "reason": "TooManyRequests",
            "details": {
                "causes": [
                    {
                        "reason": "DisruptionBudget",
                        "message": "The disruption budget web needs 2 healthy pods and has 2 currently",
                    }
                ]
            },
            "code": 429,
        },
    )
    served.advance(60)
    assert first not in [p["metadata"]["name"] for p in pods(served, "web")]
    assert len(pods(served, "web")) == 3
    assert evict(served, second)[0] == 201


def test_a_percentage_counts_what_the_controller_wants(served: Running) -> None:
    served.cluster.add_node(node("n"))
    served.cluster.create(workload("Deployment", "web", 4))
    served.cluster.create(budget("web", maxUnavailable="25%"))
    served.advance(60)
    status = served.cluster.objects("PodDisruptionBudget")[0]["status"]
    assert {key: status[key] for key in ("expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed")} == {
        "expectedPods": 4,
        "desiredHealthy": 3,
        "currentHealthy": 4,
        "disruptionsAllowed": 1,
    }


def test_two_budgets_on_a_pod_are_an_error(served: Running) -> None:
    served.cluster.add_node(node("n"))
    served.cluster.create(pod("p"))
    served.cluster.create(budget("web", minAvailable=0))
    other = budget("web", minAvailable=0)
    other["metadata"]["name"] = "other"
    served.cluster.create(other)
    served.advance(60)
    status, body = evict(served, "p")
    assert (status, body["message"].startswith("This pod has more than one PodDisruptionBudget")) == (500, True)


def test_a_pod_that_does_not_run_is_evicted_whatever_the_budget(served: Running) -> None:
    served.cluster.create(pod("p"))
    served.cluster.create(budget("web", minAvailable=1))
    assert evict(served, "p")[0] == 201
    assert served.cluster.objects("Pod") == []


def test_a_deleted_pod_lives_through_its_grace(served: Running) -> None:
    served.cluster.add_node(node("n"))
    served.cluster.create(pod("p"))
    served.advance(60)
    assert served.call("DELETE", f"{PODS}/p")[1]["metadata"]["deletionGracePeriodSeconds"] == 30
    assert len(served.cluster.objects("Pod")) == 1
    served.advance(5)
    assert served.cluster.objects("Pod") == []
    assert messages(served, "Killing") == ["Stopping container web"]


def test_a_removed_nodes_pods_come_back_elsewhere(served: Running) -> None:
    for name in ("a", "b"):
        served.cluster.add_node(node(name))
    served.cluster.create(workload("Deployment", "web", 4))
    served.advance(60)
    served.cluster.remove_node("a")
    served.advance(60)
    assert [(p["spec"]["nodeName"], ready(p)) for p in pods(served, "web")] == [("b", True)] * 4
    assert [n["metadata"]["name"] for n in served.cluster.objects("Node")] == ["b"]


def test_a_statefulset_keeps_names_and_order(served: Running) -> None:
    served.cluster.add_node(node("n"))
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    served.cluster.create(workload("StatefulSet", "db", 2, volumeClaimTemplates=[claim]))
    served.advance(2)
    assert [p["metadata"]["name"] for p in pods(served, "db")] == ["db-0"]
    served.advance(60)
    assert [p["metadata"]["name"] for p in pods(served, "db")] == ["db-0", "db-1"]
    before = pods(served, "db")[0]["metadata"]["uid"]
    assert evict(served, "db-0")[0] == 201
    served.advance(60)
    again = pods(served, "db")[0]
    assert (again["metadata"]["name"], again["metadata"]["uid"] != before, ready(again)) == ("db-0", True, True)
    assert [c["metadata"]["name"] for c in served.cluster.objects("PersistentVolumeClaim")] == [
        "data-db-0",
        "data-db-1",
    ]


def test_a_job_runs_to_completion(served: Running) -> None:
    served.cluster.add_node(node("n"))
    made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}, "spec": {"completions": 2}}
    made["spec"] |= {"parallelism": 1, "template": template("once", restartPolicy="Never")}  # type: ignore[operator]
    served.cluster.create(made)
    served.advance(120)
    status = served.cluster.objects("Job")[0]["status"]
    assert (status["succeeded"], [c["type"] for c in status["conditions"]]) == (2, ["SuccessCriteriaMet", "Complete"])
    assert [p["status"]["phase"] for p in pods(served, "once")] == ["Succeeded"] * 2


def test_daemons_follow_the_nodes(served: Running) -> None:
    served.cluster.add_node(node("a"))
    served.cluster.create(workload("DaemonSet", "agent"))
    served.advance(30)
    served.cluster.add_node(node("b"))
    served.advance(30)
    assert sorted(p["spec"]["nodeName"] for p in pods(served, "agent")) == ["a", "b"]
    served.cluster.remove_node("a")
    served.advance(30)
    assert [p["spec"]["nodeName"] for p in pods(served, "agent")] == ["b"]


def test_what_is_owned_goes_with_its_owner(served: Running) -> None:
    served.cluster.add_node(node("n"))
    served.cluster.create(workload("Deployment", "web", 2))
    served.advance(60)
    served.call("DELETE", "/apis/apps/v1/namespaces/default/deployments/web")
    served.advance(10)
    assert (served.cluster.objects("ReplicaSet"), served.cluster.objects("Pod")) == ([], [])


def test_pods_can_be_told_to_misbehave(served: Running) -> None:
    served.cluster.add_node(node("n"))
    for behaviour in ("crash", "unready", "finish"):
        made = pod(behaviour)
        made["metadata"]["annotations"] = {"sandbox.imagecache/behaviour": behaviour}
        served.cluster.create(made)
    served.advance(90)
    crash, finish, unready = served.cluster.objects("Pod")
    assert crash["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert finish["status"]["phase"] == "Succeeded"
    assert (unready["status"]["phase"], ready(unready)) == ("Running", False)


def test_a_cordon_brings_its_taint_and_an_uncordon_takes_it(served: Running) -> None:
    served.cluster.add_node(node("n"))
    merge = "application/merge-patch+json"
    served.call("PATCH", "/api/v1/nodes/n", {"spec": {"unschedulable": True}}, merge)
    served.advance(1)
    taints = served.cluster.objects("Node")[0]["spec"]["taints"]
    assert [(t["key"], t["effect"]) for t in taints] == [("node.kubernetes.io/unschedulable", "NoSchedule")]
    served.call("PATCH", "/api/v1/nodes/n", {"spec": {"unschedulable": None}}, merge)
    served.advance(1)
    assert "taints" not in served.cluster.objects("Node")[0]["spec"]


def test_a_node_that_comes_back_has_one_lease(served: Running) -> None:
    served.cluster.add_node(node("n"))
    served.cluster.remove_node("n")
    served.cluster.add_node(node("n"))
    served.advance(5)
    leases = served.cluster.objects("Lease", "kube-node-lease")
    assert [lease["metadata"]["ownerReferences"][0]["uid"] for lease in leases] == [
        served.cluster.objects("Node")[0]["metadata"]["uid"]
    ]


def test_events_are_forgotten_after_an_hour(served: Running) -> None:
    served.cluster.add_node(node("n"))
    served.cluster.create(pod("p"))
    served.advance(60)
    assert served.get("/api/v1/events")["items"] != []
    served.advance(3700)
    assert served.get("/api/v1/events")["items"] == []


def test_the_same_seed_tells_the_same_story(tmp_path: Path) -> None:
    def story() -> list[Obj]:
        with running(tmp_path) as served:
            for name in ("a", "b"):
                served.cluster.add_node(node(name, ready=False))
            served.cluster.create(workload("Deployment", "web", 5))
            served.advance(120)
            return served.cluster.objects("Pod") + served.cluster.objects("Event") + served.cluster.objects("Node")

    assert story() == story()
