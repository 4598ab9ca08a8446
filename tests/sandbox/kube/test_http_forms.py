"""Other ways to ask on plain HTTP: apply, collections, subresources, tables, metadata, discovery."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.kube.factories import Obj, Running, config_map, node, pod, running, workload

MAPS = "/api/v1/namespaces/default/configmaps"
CLASSES = "/apis/cloud.google.com/v1/computeclasses"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as started:
        yield started


def apply(served: Running, path: str, obj: Obj, manager: str, force: bool = False) -> tuple[int, Obj]:
    query = f"?fieldManager={manager}" + ("&force=true" if force else "")
    return served.call("PATCH", path + query, obj, "application/apply-patch+yaml")


def compute_class(**spec: Any) -> Obj:
    return {"apiVersion": "cloud.google.com/v1", "kind": "ComputeClass", "metadata": {"name": "c"}, "spec": spec}


def test_apply_creates_and_drops_what_its_manager_no_longer_says(served: Running) -> None:
    assert apply(served, f"{CLASSES}/c", compute_class(one=1, two={"a": 1, "b": 2}), "us")[0] == 201
    status, after = apply(served, f"{CLASSES}/c", compute_class(two={"a": 1}), "us")
    assert (status, after["spec"]) == (200, {"two": {"a": 1}})


def test_apply_leaves_what_others_own(served: Running) -> None:
    served.call("POST", f"{CLASSES}?fieldManager=them", compute_class(theirs=1, shared=1))
    assert apply(served, f"{CLASSES}/c", compute_class(ours=1, shared=1), "us")[0] == 200
    _, after = apply(served, f"{CLASSES}/c", compute_class(ours=2), "us")
    assert after["spec"] == {"theirs": 1, "shared": 1, "ours": 2}


def test_apply_conflicts_name_the_manager_and_the_field(served: Running) -> None:
    served.call("POST", f"{CLASSES}?fieldManager=them", compute_class(disks=["old"]))
    status, body = apply(served, f"{CLASSES}/c", compute_class(disks=["new"]), "us")
    assert (status, body["reason"], body["details"]["causes"]) == (
        409,
        "Conflict",
        [
            {
                "reason": "FieldManagerConflict",
                "message": 'conflict with "them" using cloud.google.com/v1',
                "field": ".spec.disks",
            }
        ],
    )
    assert apply(served, f"{CLASSES}/c", compute_class(disks=["new"]), "us", force=True)[1]["spec"] == {
        "disks": ["new"]
    }
    managers = {
        entry["manager"]: entry["fieldsV1"] for entry in served.get(f"{CLASSES}/c")["metadata"]["managedFields"]
    }
    assert managers == {"us": {"f:spec": {"f:disks": {}}}}


def test_apply_merges_containers_by_name(served: Running) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments"
    served.call("POST", f"{path}?fieldManager=them", workload("Deployment", "web"))
    side = {"name": "side", "image": "proxy:1"}
    config = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    spec = {"template": {"spec": {"containers": [side]}}}
    _, after = apply(served, f"{path}/web", {**config, "spec": spec}, "us")
    assert [c["name"] for c in after["spec"]["template"]["spec"]["containers"]] == ["web", "side"]
    _, after = apply(served, f"{path}/web", {**config, "spec": {"replicas": 1}}, "us")
    assert [c["name"] for c in after["spec"]["template"]["spec"]["containers"]] == ["web"]


def test_apply_needs_a_manager(served: Running) -> None:
    assert served.call("PATCH", f"{CLASSES}/c", compute_class(), "application/apply-patch+yaml")[0] == 422


def test_a_collection_is_deleted_by_its_labels(served: Running) -> None:
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "red")):
        made = config_map(name)
        made["metadata"]["labels"] = {"colour": colour}
        served.cluster.create(made)
    status, body = served.call("DELETE", f"{MAPS}?labelSelector=colour%3Dred")
    assert (status, [item["metadata"]["name"] for item in body["items"]]) == (200, ["a", "c"])
    assert [item["metadata"]["name"] for item in served.get(MAPS)["items"]] == ["b"]


def test_a_scale_is_read_and_written_apart(served: Running) -> None:
    served.cluster.create(workload("Deployment", "web", 2))
    path = "/apis/apps/v1/namespaces/default/deployments/web"
    scale = served.get(f"{path}/scale")
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 2}, "app=web")
    served.call("PUT", f"{path}/scale", {**scale, "spec": {"replicas": 5}})
    after = served.get(path)
    assert (after["spec"]["replicas"], after["metadata"]["generation"]) == (5, 2)
    assert served.call("PUT", f"{path}/scale", {**scale, "spec": {"replicas": 6}})[0] == 409


def test_a_binding_places_a_pod_once(served: Running) -> None:
    served.cluster.add_node(node("n"))
    served.cluster.create(pod("p", schedulerName="mine"))
    path = "/api/v1/namespaces/default/pods/p"
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"name": "n"}}
    assert served.call("POST", f"{path}/binding", binding)[0] == 201
    assert served.call("POST", f"{path}/binding", binding)[0] == 409
    served.advance(60)
    assert served.get(path)["status"]["phase"] == "Running"


def test_a_pods_node_can_not_be_changed(served: Running) -> None:
    served.cluster.add_node(node("n"))
    served.cluster.create(pod("p", nodeName="n"))
    path = "/api/v1/namespaces/default/pods/p"
    status, body = served.call("PATCH", path, {"spec": {"nodeName": "m"}}, "application/merge-patch+json")
    assert (status, "pod updates may not change fields other than" in body["message"]) == (422, True)


def test_the_log_of_a_waiting_pod_is_refused(served: Running) -> None:
    served.cluster.create(pod("p"))
    status, body = served.call("GET", "/api/v1/namespaces/default/pods/p/log")
    assert (status, body["message"]) == (400, 'container "web" in pod "p" is waiting to start: ContainerCreating')


def test_tables_and_metadata_are_given_where_asked_for(served: Running) -> None:
    served.cluster.create(config_map("c", a="1", b="2"))
    table = served.get(MAPS, Accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    assert (table["kind"], [row["cells"] for row in table["rows"]]) == ("Table", [["c", 2, "0s"]])
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    partial = served.get(MAPS, Accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
    assert (partial["kind"], set(partial["items"][0])) == (
        "PartialObjectMetadataList",
        {"kind", "apiVersion", "metadata"},
    )


def test_a_new_definition_serves_its_kind_until_it_goes(served: Running) -> None:
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "pets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"kind": "Pet", "plural": "pets"},
            "versions": [{"name": "v1", "served": True, "storage": True}],
        },
    }
    path = "/apis/example.com/v1/namespaces/default/pets"
    assert served.call("GET", path)[0] == 404
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    made = served.call("POST", crds, crd)[1]
    assert [c["type"] for c in made["status"]["conditions"]] == ["NamesAccepted", "Established"]
    assert [r["name"] for r in served.get("/apis/example.com/v1")["resources"]] == ["pets"]
    assert (
        served.call("POST", path, {"apiVersion": "example.com/v1", "kind": "Pet", "metadata": {"name": "p"}})[0] == 201
    )
    served.call("DELETE", f"{crds}/pets.example.com")
    assert served.call("GET", path)[0] == 404


def test_discovery_in_both_forms_lists_the_same(served: Running) -> None:
    aggregated = served.get("/apis", Accept="application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
    new = {
        (item["metadata"]["name"], resource["resource"])
        for item in aggregated["items"]
        for resource in item["versions"][0]["resources"]
    }
    old = {
        (group["name"], resource["name"])
        for group in served.get("/apis")["groups"]
        for resource in served.get(f"/apis/{group['preferredVersion']['groupVersion']}")["resources"]
        if "/" not in resource["name"]
    }
    assert new == old
    assert {("policy", "poddisruptionbudgets"), ("cloud.google.com", "computeclasses")} < new


def test_health_is_told_in_plain_text(served: Running) -> None:
    for path in ("/healthz", "/readyz", "/livez"):
        with urllib.request.urlopen(served.url + path, timeout=5) as response:
            assert response.read() == b"ok"
