"""What a roll asks of the sandbox and of a real kube-apiserver, as a user with the documented roles alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubectl_imagecache.clients.kube import Kube
from kubectl_imagecache.clients.kube.classes import ClassKube
from kubectl_imagecache.clients.kube.options import KubeOptions
from kubectl_imagecache.clients.kube.roll import Evicted, RollKube
from kubectl_imagecache.clients.kube.transport import Transport
from kubectl_imagecache.core import compute_class as classes
from kubectl_imagecache.core.class_roll import ClassView, change_of, changed
from kubectl_imagecache.core.clock import SystemClock
from kubectl_imagecache.core.errors import Busy, FieldConflict, NotPermitted
from kubectl_imagecache.core.pools import POOL_LABEL, DiskImageRef
from kubectl_imagecache.core.roll import EditClass, RollPod
from kubectl_imagecache.core.roll_marks import CORDONED
from kubectl_imagecache.sandbox.kube.kinds import gke_crds
from tests.e2e.servers import Server
from tests.e2e.test_kubernetes import node, pod

RBAC = Path(__file__).parents[2] / "docs" / "rbac"
DISK = DiskImageRef("acme", "cache-2")
CLASS_PATH = "/apis/cloud.google.com/v1/computeclasses"


@pytest.fixture(scope="module")
def transport(server: Server) -> Iterator[Transport]:
    """Of a user who first may do nothing, and then what docs/rbac/roll.yaml and roll-class.yaml say."""
    env = {"KUBECONFIG": str(server.viewer_kubeconfig)}
    connected = Kube.connect(KubeOptions(), env, server.viewer_kubeconfig.parent, SystemClock()).transport
    with pytest.raises(NotPermitted, match="list nodes"):
        RollKube(connected).nodes("web")
    for name in ("roll", "roll-class"):
        bind(server, name)
    _soon(lambda: RollKube(connected).nodes("web"))
    yield connected


def bind(server: Server, name: str) -> None:
    """Let the viewer do what docs/rbac/NAME.yaml says."""
    role = yaml.safe_load((RBAC / f"{name}.yaml").read_text())
    group = "rbac.authorization.k8s.io"
    server.send("POST", f"/apis/{group}/v1/clusterroles", role)
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"viewer-{name}"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role["metadata"]["name"]},
        "subjects": [{"kind": "User", "apiGroup": group, "name": "viewer"}],
    }
    server.send("POST", f"/apis/{group}/v1/clusterrolebindings", binding)


def _soon(call: Any) -> Any:
    """What CALL returns once the server has taken in what allows it."""
    for _ in range(100):
        try:
            return call()
        except (NotPermitted, AssertionError):
            time.sleep(0.1)
    return call()


@pytest.fixture(scope="module")
def kube(server: Server, transport: Transport) -> RollKube:
    """A pool `web` of two nodes; on the first, three Ready pods of one controller and with one budget."""
    for name in ("web-1", "web-2"):
        server.send("POST", "/api/v1/nodes", node(name, "web", True))
    for number in range(3):
        run(server, f"front-{number}")
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "front", "namespace": "default"},
        "spec": {"minAvailable": 3, "selector": {"matchLabels": {"app": "front"}}},
    }
    server.send("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", budget)
    return RollKube(transport)


def run(server: Server, name: str) -> None:
    """A Ready pod, as a controller that the server knows nothing of makes it, on web-1."""
    path, body = "/api/v1/namespaces/default/pods", pod(name, "gcr.io/acme/web:v1", "web-1", {"app": "front"})
    owner = {
        "apiVersion": "apps.kruise.io/v1alpha1",
        "kind": "CloneSet",
        "name": "front",
        "uid": "1",
        "controller": True,
    }
    server.send("POST", path, {**body, "metadata": {**body["metadata"], "ownerReferences": [owner]}})
    conditions = [{"type": "Ready", "status": "True"}]
    server.send("PATCH", f"{path}/{name}/status", {"status": {"phase": "Running", "conditions": conditions}})


def allow(server: Server, disruptions: int) -> None:
    """Let the budget of the pods allow so many disruptions: by its spec and, as its controller would, its status."""
    path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/front"
    server.send("PATCH", path, {"spec": {"minAvailable": 3 - disruptions}})
    generation = server.send("GET", path)["metadata"].get("generation", 1)
    status = {
        "observedGeneration": generation,
        "disruptionsAllowed": disruptions,
        "currentHealthy": 3,
        "desiredHealthy": 3 - disruptions,
        "expectedPods": 3,
    }
    server.send("PATCH", f"{path}/status", {"status": status})


def named(kube: RollKube, name: str) -> RollPod:
    (found,) = (one for one in kube.pods() if one.name == name)
    return found


def test_a_node_is_cordoned_and_marked_in_one_patch_and_released_in_another(server: Server, kube: RollKube) -> None:
    kube.patch_node("web-2", {CORDONED: "2026-01-15T09:00:00+00:00"}, unschedulable=True)
    first, second = kube.nodes("web")
    assert (first.cordoned, second.cordoned) == (False, True)
    assert second.marks == {CORDONED: "2026-01-15T09:00:00+00:00"}
    assert second.created is not None
    kube.release("web-2")
    assert kube.nodes("web")[1] == replace(second, cordoned=False, marks={})
    kube.patch_node("gone", {CORDONED: "x"}, unschedulable=True)


def test_a_budget_that_allows_nothing_is_waited_for_and_one_that_allows_is_not_asked_twice(
    server: Server, kube: RollKube
) -> None:
    allow(server, 0)
    held = named(kube, "front-0")
    answer = kube.evict(held)
    assert not answer.done
    assert "disruption budget front" in answer.why
    assert not named(kube, "front-0").leaving
    allow(server, 1)
    assert kube.evict(held) == Evicted(True)
    assert named(kube, "front-0").leaving
    (found,) = kube.budgets()
    assert found.metadata.name == "front"


def test_a_budget_with_too_many_evictions_to_confirm_is_waited_for_and_no_lack_of_permission(
    server: Server, kube: RollKube
) -> None:
    path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/front/status"
    allow(server, 1)
    many: dict[str, str | None] = {f"gone-{number}": "2026-01-15T09:00:00Z" for number in range(2001)}
    server.send("PATCH", path, {"status": {"disruptedPods": many}})
    answer = kube.evict(named(kube, "front-2"))
    assert (answer.done, "DisruptedPods map too big" in answer.why) == (False, True)
    server.send("PATCH", path, {"status": {"disruptedPods": dict.fromkeys(many)}})


def test_a_pod_with_two_budgets_is_left_for_their_owner(server: Server, kube: RollKube) -> None:
    path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "front"}}}
    server.send("POST", path, {"metadata": {"name": "second"}, "spec": spec})
    answer = kube.evict(named(kube, "front-2"))
    assert (answer.done, "more than one PodDisruptionBudget" in answer.why) == (False, True)
    server.send("DELETE", f"{path}/second")


def test_a_namesake_of_the_pod_that_is_meant_is_spared(server: Server, kube: RollKube) -> None:
    allow(server, 3)
    other = replace(named(kube, "front-1"), uid="00000000-0000-0000-0000-000000000000")
    assert kube.evict(other) == Evicted(True)
    assert not named(kube, "front-1").leaving
    assert kube.evict(replace(other, name="front-9")) == Evicted(True)


def test_two_holders_of_a_lease_cannot_both_write_it(kube: RollKube) -> None:
    now = SystemClock().now()
    first = kube.hold("web", replace(kube.holder("web"), who="me", since=now, renewed=now), 120)
    kube.hold("web", replace(first, who="you"), 120)
    with pytest.raises(Busy):
        kube.hold("web", replace(first, who="me"), 120)
    assert kube.holder("web").who == "you"


def test_a_workload_that_selects_the_pool_is_found_and_made_to_select_another(server: Server, kube: RollKube) -> None:
    template = pod("front", "gcr.io/acme/web:v1", "", {"app": "pinned"})
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "pinned", "namespace": "default"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "pinned"}},
            "template": {
                "metadata": {"labels": {"app": "pinned"}},
                "spec": {**template["spec"], "nodeSelector": {POOL_LABEL: "web"}},
            },
        },
    }
    server.send("POST", "/apis/apps/v1/namespaces/default/deployments", body)
    (pin,) = kube.pins()
    assert (str(pin), pin.value) == ("Deployment default/pinned", "web")
    kube.repin(pin, "web-r2", None)
    assert [found.value for found in kube.pins()] == ["web-r2"]


@pytest.fixture(scope="module")
def classes_of(server: Server, transport: Transport) -> ClassKube:
    """A ComputeClass that argocd applied, on a server that knows the kind."""
    for crd in gke_crds():
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        if crd["metadata"]["name"] not in {one["metadata"]["name"] for one in server.send("GET", path)["items"]}:
            server.send("POST", path, crd)
    for path in (CLASS_PATH, "/apis/node.gke.io/v1/gcpresourceallowlists"):
        _soon(lambda path=path: server.send("GET", path))
    return ClassKube(transport)


def by_argocd(server: Server, disk: str) -> None:
    disks = [{"diskImageName": disk, "project": "acme", "mode": classes.CACHE}]
    priorities = [{"machineFamily": "n2", "storage": {"secondaryBootDisks": disks}}, {"machineFamily": "e2"}]
    body = {
        "apiVersion": classes.API,
        "kind": classes.KIND,
        "metadata": {"name": "models"},
        "spec": {"nodePoolAutoCreation": {"enabled": True}, "priorities": priorities},
    }
    path = f"{CLASS_PATH}/models?fieldManager=argocd-controller&force=true"
    status, found = server.answer("PATCH", path, body, "application/apply-patch+yaml")
    assert status in (200, 201), found


def edit(found: dict[str, Any]) -> dict[str, Any]:
    view = ClassView(SystemClock().now(), "models", found, "acme")
    return changed(view, EditClass("models", DISK))


def test_a_class_is_changed_only_where_nobody_else_keeps_it(
    server: Server, transport: Transport, classes_of: ClassKube
) -> None:
    assert classes_of.compute_class("models") is None
    by_argocd(server, "cache-1")
    found = classes_of.compute_class("models")
    assert found is not None
    with pytest.raises(FieldConflict, match="argocd-controller keeps what this would change in computeclasses models"):
        classes_of.apply_class(edit(found))
    assert classes_of.compute_class("models") == found
    ClassKube(transport, force=True).apply_class(edit(found))
    after = classes_of.compute_class("models")
    assert after is not None
    first, second = classes.rules(after)
    assert (classes.cache_disks(first, ""), second) == ((DISK,), {"machineFamily": "e2"})
    assert after["spec"]["nodePoolAutoCreation"] == {"enabled": True}
    change = change_of(after)
    assert change is not None
    assert change.left == {DiskImageRef("acme", "cache-1")}


def test_a_class_that_git_has_changed_is_noted_on_without_a_conflict(server: Server, classes_of: ClassKube) -> None:
    by_argocd(server, DISK.name)
    found = classes_of.compute_class("models")
    assert found is not None
    classes_of.apply_class(edit(found))
    after = classes_of.compute_class("models")
    assert after is not None and change_of(after) is not None


def test_an_allowlist_of_ours_is_made_and_only_grows(classes_of: ClassKube) -> None:
    there = classes_of.allowlists()
    assert there == ()
    classes_of.allow((DISK,), there)
    classes_of.allow((DiskImageRef("acme", "cache-3"),), classes_of.allowlists() or ())
    (found,) = classes_of.allowlists() or ()
    assert classes.patterns(found) == ["projects/acme/global/images/cache-2", "projects/acme/global/images/cache-3"]
