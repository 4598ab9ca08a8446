"""The API's contract on plain HTTP: pages, versions, watches, patches, refusals."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubectl_imagecache.sandbox.faults import Fault
from kubectl_imagecache.sandbox.kube.access import Refusal
from tests.sandbox.kube.factories import Obj, Running, budget, config_map, node, pod, running, workload


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as started:
        yield started


def fill(served: Running, count: int) -> None:
    for number in range(count):
        served.cluster.create(config_map(f"c{number:02d}"))


MAPS = "/api/v1/namespaces/default/configmaps"


def names(body: Obj) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]


def test_pages_are_of_the_moment_of_the_first(served: Running) -> None:
    fill(served, 5)
    first = served.get(f"{MAPS}?limit=2")
    served.cluster.create(config_map("c01-late"))
    served.call("DELETE", f"{MAPS}/c03")
    second = served.get(f"{MAPS}?limit=2&continue={first['metadata']['continue']}")
    third = served.get(f"{MAPS}?limit=2&continue={second['metadata']['continue']}")
    assert [names(page) for page in (first, second, third)] == [["c00", "c01"], ["c02", "c03"], ["c04"]]
    assert [page["metadata"].get("remainingItemCount") for page in (first, second, third)] == [3, 1, None]
    assert len({page["metadata"]["resourceVersion"] for page in (first, second, third)}) == 1


def test_items_of_a_list_have_no_kind_but_objects_do(served: Running) -> None:
    fill(served, 1)
    listed = served.get(MAPS)
    assert (listed["kind"], listed["apiVersion"]) == ("ConfigMapList", "v1")
    assert set(listed["items"][0]) == {"metadata", "data"}
    assert served.get(f"{MAPS}/c00")["kind"] == "ConfigMap"


def test_an_expired_token_gets_410_and_a_token_to_go_on_with(served: Running) -> None:
    fill(served, 3)
    token = served.get(f"{MAPS}?limit=1")["metadata"]["continue"]
    served.cluster.expire_continue_tokens()
    status, body = served.call("GET", f"{MAPS}?limit=1&continue={token}")
    assert (status, body["reason"], body["code"]) == (410, "Expired", 410)
    assert body["message"].startswith("The provided continue parameter is too old to display a consistent list result.")
    rest = served.get(f"{MAPS}?limit=5&continue={body['metadata']['continue']}")
    assert names(rest) == ["c01", "c02"]


def test_tokens_expire_with_time(served: Running) -> None:
    fill(served, 3)
    token = served.get(f"{MAPS}?limit=1")["metadata"]["continue"]
    served.advance(301)
    assert served.call("GET", f"{MAPS}?limit=1&continue={token}")[0] == 410


def test_a_broken_token_is_a_bad_request(served: Running) -> None:
    assert served.call("GET", f"{MAPS}?continue=xyz")[0] == 400


def test_an_update_of_an_old_version_conflicts(served: Running) -> None:
    fill(served, 1)
    old = served.get(f"{MAPS}/c00")
    assert served.call("PUT", f"{MAPS}/c00", {**old, "data": {"a": "1"}})[0] == 200
    status, body = served.call("PUT", f"{MAPS}/c00", {**old, "data": {"a": "2"}})
    assert (status, body["reason"]) == (409, "Conflict")
    assert body["message"] == (
        'Operation cannot be fulfilled on configmaps "c00": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


def test_writing_what_is_there_keeps_the_version(served: Running) -> None:
    fill(served, 1)
    before = served.get(f"{MAPS}/c00")
    assert served.call("PUT", f"{MAPS}/c00", before)[1] == before


def test_a_dry_run_changes_nothing(served: Running) -> None:
    status, body = served.call("POST", f"{MAPS}?dryRun=All", config_map("c"))
    assert (status, body["metadata"]["name"]) == (201, "c")
    assert served.call("GET", f"{MAPS}/c")[0] == 404


def test_an_object_needs_its_namespace(served: Running) -> None:
    status, body = served.call("POST", "/api/v1/namespaces/nowhere/configmaps", config_map("c"))
    assert (status, body["message"]) == (404, 'namespaces "nowhere" not found')


@pytest.mark.parametrize(
    ("obj", "path", "message"),
    [
        (config_map("Not_A_Name"), MAPS, 'ConfigMap "Not_A_Name" is invalid: metadata.name: Invalid value'),
        (
            {"metadata": {"name": "p"}, "spec": {"containers": []}},
            "/api/v1/namespaces/default/pods",
            'Pod "p" is invalid: spec.containers: Required value',
        ),
        (
            workload(
                "Deployment", "web", template={"metadata": {}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
            ),
            "/apis/apps/v1/namespaces/default/deployments",
            'Deployment.apps "web" is invalid: spec.template.metadata.labels: Invalid value',
        ),
    ],
)
def test_invalid_objects_are_refused(served: Running, obj: Obj, path: str, message: str) -> None:
    status, body = served.call("POST", path, obj)
    assert (status, body["reason"]) == (422, "Invalid")
    assert body["message"].startswith(message)


def test_unknown_paths_methods_and_bodies_are_statuses(served: Running) -> None:
    assert served.call("GET", "/apis/apps/v1/here")[1]["reason"] == "NotFound"
    assert served.call("GET", "/apis/nothing/v1/here") == (404, {"text": "404 page not found\n"})
    assert served.call("POST", f"{MAPS}/c00", {})[0] == 405
    assert served.call("POST", MAPS, [1])[0] == 400
    assert served.call("POST", MAPS, config_map("c"), "application/yaml")[0] == 415
    assert served.call("GET", f"{MAPS}?fieldSelector=data.a%3D1")[1]["message"] == "field label not supported: data.a"
    assert served.call("GET", f"{MAPS}?labelSelector=a%3D%3D%3Db")[0] == 400
    assert served.call("GET", f"{MAPS}?limit=many")[0] == 400


def test_unknown_fields_are_refused_when_asked_to(served: Running) -> None:
    made = workload("Deployment", "web") | {"specc": {}}
    path = "/apis/apps/v1/namespaces/default/deployments?fieldValidation=Strict"
    status, body = served.call("POST", path, made)
    assert (status, body["message"]) == (
        400,
        'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "specc"',
    )


def test_phases_select_pods(served: Running) -> None:
    served.cluster.create(pod("waiting"))
    served.cluster.create({**pod("done"), "status": {"phase": "Succeeded"}})
    path = "/api/v1/pods?fieldSelector=status.phase%21%3DSucceeded,metadata.namespace%3Ddefault"
    assert names(served.get(path)) == ["waiting"]
    assert names(served.get("/api/v1/namespaces?fieldSelector=status.phase%3DActive"))[0] == "default"


def test_a_surprise_in_a_handler_is_a_500_status(served: Running) -> None:
    fill(served, 1)
    # A patch that turns `metadata` into a text is nonsense that no check foresees.
    status, body = served.call("PATCH", f"{MAPS}/c00", {"metadata": "x"}, "application/merge-patch+json")
    assert (status, body["reason"]) == (500, "InternalError")
    assert served.get(f"{MAPS}/c00")["metadata"]["name"] == "c00"


def test_patches_of_all_three_kinds(served: Running) -> None:
    served.cluster.add_node(node("n"))
    path = "/api/v1/nodes/n"
    served.call(
        "PATCH", path, [{"op": "add", "path": "/metadata/labels/a~1b", "value": "1"}], "application/json-patch+json"
    )
    served.call("PATCH", path, {"metadata": {"labels": {"c": "2"}}}, "application/merge-patch+json")
    conditions = [{"type": "Ready", "status": "False"}, {"type": "Odd", "status": "True"}]
    strategic = "application/strategic-merge-patch+json"
    served.call("PATCH", f"{path}/status", {"status": {"conditions": conditions}}, strategic)
    found = served.get(path)
    assert {key: found["metadata"]["labels"][key] for key in ("a/b", "c")} == {"a/b": "1", "c": "2"}
    assert found["status"]["conditions"] == [
        {"type": "Ready", "status": "False", "reason": "KubeletReady"},
        {"type": "Odd", "status": "True"},
    ]


def test_a_failed_json_patch_test_changes_nothing(served: Running) -> None:
    fill(served, 1)
    patch = [{"op": "test", "path": "/metadata/name", "value": "x"}, {"op": "remove", "path": "/metadata/name"}]
    assert served.call("PATCH", f"{MAPS}/c00", patch, "application/json-patch+json")[0] == 422


def test_custom_resources_take_no_strategic_patches(served: Running) -> None:
    made = {"apiVersion": "cloud.google.com/v1", "kind": "ComputeClass", "metadata": {"name": "c"}, "spec": {}}
    served.cluster.create(made)
    path = "/apis/cloud.google.com/v1/computeclasses/c"
    assert served.call("PATCH", path, {"spec": {"a": 1}}, "application/strategic-merge-patch+json")[0] == 415
    assert served.call("PATCH", path, {"spec": {"a": 1}}, "application/merge-patch+json")[1]["spec"] == {"a": 1}
    assert served.get("/apis/cloud.google.com/v1/computeclasses")["items"][0]["kind"] == "ComputeClass"


def test_status_and_spec_are_written_apart(served: Running) -> None:
    served.cluster.create(budget("web", minAvailable=1))
    path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/web"
    body = {"spec": {"minAvailable": 2}, "status": {"disruptionsAllowed": 9}}
    after = served.call("PATCH", path, body, "application/merge-patch+json")[1]
    assert (after["spec"]["minAvailable"], after["status"]["disruptionsAllowed"]) == (2, 0)
    after = served.call(
        "PATCH", f"{path}/status", body | {"spec": {"minAvailable": 5}}, "application/merge-patch+json"
    )[1]
    assert (after["spec"]["minAvailable"], after["status"]["disruptionsAllowed"]) == (2, 9)


def test_preconditions_guard_deletes(served: Running) -> None:
    fill(served, 1)
    status, body = served.call("DELETE", f"{MAPS}/c00", {"preconditions": {"uid": "other"}})
    assert (status, body["reason"]) == (409, "Conflict")
    assert served.call("DELETE", f"{MAPS}/c00")[1]["status"] == "Success"


def test_finalizers_hold_an_object_until_they_are_gone(served: Running) -> None:
    held = config_map("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    served.cluster.create(held)
    assert "deletionTimestamp" in served.call("DELETE", f"{MAPS}/held")[1]["metadata"]
    served.call("PATCH", f"{MAPS}/held", {"metadata": {"finalizers": None}}, "application/merge-patch+json")
    assert served.call("GET", f"{MAPS}/held")[0] == 404


def test_refusals_are_worded_as_rbac_words_them(served: Running) -> None:
    served.cluster.access.refusals.append(Refusal("create", "pods/eviction", "default"))
    served.cluster.create(pod("p"))
    status, body = served.call("POST", "/api/v1/namespaces/default/pods/p/eviction", {})
    assert (status, body["reason"], body["message"]) == (
        403,
        "Forbidden",
        'pods "p" is forbidden: User "sandbox-user" cannot create resource "pods/eviction" in API group "" '
        'in the namespace "default"',
    )


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "Unauthorized"), (429, "TooManyRequests"), (503, "ServiceUnavailable")]
)
def test_ordered_faults_are_statuses(served: Running, status: int, reason: str) -> None:
    served.world.faults.rules.append(Fault(status=status, path="configmaps", retry_after_s=7))
    got, body = served.call("GET", MAPS)
    assert (got, body["kind"], body["reason"], body["details"]) == (status, "Status", reason, {"retryAfterSeconds": 7})
    assert served.call("GET", MAPS)[0] == 200


class Watch:
    """A watch on its own connection, read line by line."""

    def __init__(self, served: Running, path: str) -> None:
        self._connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=10)
        self._connection.request("GET", path)
        self._response = self._connection.getresponse()

    def next(self) -> tuple[str, Obj]:
        event = json.loads(self._response.readline())
        return event["type"], event["object"]

    def rest(self) -> bytes:
        return self._response.read()


def test_a_watch_goes_on_where_a_list_ended(served: Running) -> None:
    fill(served, 1)
    version = served.get(MAPS)["metadata"]["resourceVersion"]
    watch = Watch(served, f"{MAPS}?watch=true&resourceVersion={version}")
    served.call("POST", MAPS, config_map("new"))
    served.call("PATCH", f"{MAPS}/new", {"data": {"a": "1"}}, "application/merge-patch+json")
    served.call("DELETE", f"{MAPS}/c00")
    seen = [watch.next() for _ in range(3)]
    assert [(kind, obj["metadata"]["name"]) for kind, obj in seen] == [
        ("ADDED", "new"),
        ("MODIFIED", "new"),
        ("DELETED", "c00"),
    ]
    versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in seen]
    assert versions == sorted(set(versions)) and versions[0] > int(version)


def test_a_watch_from_nothing_begins_with_what_is_there(served: Running) -> None:
    fill(served, 2)
    watch = Watch(served, f"{MAPS}?watch=true")
    assert [watch.next()[1]["metadata"]["name"] for _ in range(2)] == ["c00", "c01"]


def test_an_object_that_leaves_the_selection_is_deleted_for_its_watch(served: Running) -> None:
    served.cluster.add_node(node("n", team="a"))
    watch = Watch(served, "/api/v1/nodes?watch=true&labelSelector=team%3Da")
    assert watch.next()[0] == "ADDED"
    served.call("PATCH", "/api/v1/nodes/n", {"metadata": {"labels": {"team": "b"}}}, "application/merge-patch+json")
    kind, obj = watch.next()
    version = served.get("/api/v1/nodes/n")["metadata"]["resourceVersion"]
    assert (kind, obj["metadata"]["name"], obj["metadata"]["resourceVersion"]) == ("DELETED", "n", version)


def test_passing_time_reaches_watches(served: Running) -> None:
    served.cluster.add_node(node("n", ready=False))
    watch = Watch(served, "/api/v1/nodes?watch=true")
    assert watch.next()[0] == "ADDED"
    threading.Timer(0.1, served.advance, [60]).start()
    kind, obj = watch.next()
    ready = next(c for c in obj["status"]["conditions"] if c["type"] == "Ready")
    assert (kind, ready["status"]) == ("MODIFIED", "True")


def test_a_watch_ends_at_its_time_with_a_bookmark(served: Running) -> None:
    fill(served, 1)
    version = served.get(MAPS)["metadata"]["resourceVersion"]
    watch = Watch(served, f"{MAPS}?watch=1&resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds=1")
    kind, obj = watch.next()
    assert (kind, obj["kind"], obj["metadata"]["resourceVersion"]) == ("BOOKMARK", "ConfigMap", version)
    assert watch.rest() == b""


def test_a_watch_from_a_forgotten_version_gets_410(served: Running) -> None:
    fill(served, 1)
    version = served.get(MAPS)["metadata"]["resourceVersion"]
    fill_more = config_map("more")
    served.cluster.create(fill_more)
    served.cluster.compact()
    kind, obj = Watch(served, f"{MAPS}?watch=true&resourceVersion={version}").next()
    assert (kind, obj["code"], obj["reason"]) == ("ERROR", 410, "Expired")
    assert obj["message"].startswith(f"too old resource version: {version} (")


def test_a_streaming_list_ends_with_its_bookmark(served: Running) -> None:
    fill(served, 1)
    query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    watch = Watch(served, f"{MAPS}?{query}")
    assert watch.next()[0] == "ADDED"
    kind, obj = watch.next()
    assert (kind, obj["metadata"]["annotations"]) == ("BOOKMARK", {"k8s.io/initial-events-end": "true"})


def test_bulk_pods_are_pods_like_others(served: Running) -> None:
    served.cluster.add_node(node("n"))
    made = served.cluster.add_bulk_pods(pod("x", namespace="big"), ((f"x-{i:03d}", "n") for i in range(300)))
    listed = served.get("/api/v1/pods?limit=200&fieldSelector=spec.nodeName%3Dn")
    assert (made, len(listed["items"]), "continue" in listed["metadata"]) == (300, 200, True)
    one = served.get("/api/v1/namespaces/big/pods/x-007")
    assert (one["spec"]["nodeName"], one["status"]["phase"]) == ("n", "Running")
    assert len({item["metadata"]["uid"] for item in listed["items"]}) == 200
    assert served.call("DELETE", "/api/v1/namespaces/big/pods/x-007", {"gracePeriodSeconds": 0})[0] == 200
    assert served.call("GET", "/api/v1/namespaces/big/pods/x-007")[0] == 404
    after = served.call(
        "PATCH",
        "/api/v1/namespaces/big/pods/x-008",
        {"metadata": {"labels": {"a": "b"}}},
        "application/merge-patch+json",
    )[1]
    assert after["metadata"]["labels"] == {"app": "web", "a": "b"}
    assert names(served.get("/api/v1/pods?labelSelector=a%3Db")) == ["x-008"]
