"""What both servers say, word for word, to what our clients ask: the sandbox speaks as a kube-apiserver does."""

from __future__ import annotations

import json
from typing import Any

import pytest
import urllib3

from tests.e2e.servers import ADMIN, Server
from tests.e2e.test_kubernetes import node, pod

PODS, NODES = "/api/v1/namespaces/default/pods", "/api/v1/nodes"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
NOBODY = "00000000-0000-0000-0000-000000000000"
MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def eviction(name: str, **options: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta, "deleteOptions": options}


def lease(name: str, **metadata: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "default", **metadata}
    spec = {"holderIdentity": "me", "leaseDurationSeconds": 60}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}


def job(name: str, **spec: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "main", "image": "x:1"}], **spec}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template}}


def applied(**container: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "main", **container}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "applied"}, "spec": spec}


Asked = tuple[str, str, dict[str, Any] | list[Any] | None, str]
"""Method, path, body, content type (JSON's if empty)."""
REFUSED: list[tuple[Asked, tuple[int, str, str]]] = [
    (("GET", f"{PODS}/none", None, ""), (404, "NotFound", 'pods "none" not found')),
    (("GET", "/api/v1/nones", None, ""), (404, "NotFound", "the server could not find the requested resource")),
    (("GET", "/apis/none.example.com/v1/nones", None, ""), (404, "", "404 page not found\n")),
    (("GET", f"{PODS}?limit=x", None, ""), (400, "BadRequest", 'strconv.ParseInt: parsing "x": invalid syntax')),
    (
        ("GET", f"{PODS}?fieldSelector=spec.none%3D1", None, ""),
        (400, "BadRequest", "field label not supported: spec.none"),
    ),
    (
        ("POST", "/api/v1/namespaces/none/pods", pod("a", "x:1", ""), ""),
        (404, "NotFound", 'namespaces "none" not found'),
    ),
    (("POST", NODES, node("one", "web", False), ""), (409, "AlreadyExists", 'nodes "one" already exists')),
    (
        ("POST", PODS, {"metadata": {"name": "b"}, "spec": {"containers": []}}, ""),
        (422, "Invalid", 'Pod "b" is invalid: spec.containers: Required value'),
    ),
    (
        ("POST", JOBS, job("j"), ""),
        (
            422,
            "Invalid",
            'Job.batch "j" is invalid: spec.template.spec.restartPolicy: Required value: '
            'valid values: "OnFailure", "Never"',
        ),
    ),
    (("PATCH", f"{NODES}/none", {"spec": {"unschedulable": True}}, MERGE), (404, "NotFound", 'nodes "none" not found')),
    (
        ("PATCH", f"{NODES}/one", {"metadata": {"resourceVersion": "1", "labels": {"a": "b"}}}, MERGE),
        (409, "Conflict", f'Operation cannot be fulfilled on nodes "one": {MODIFIED}'),
    ),
    (
        ("PATCH", f"{NODES}/one", [{"op": "test", "path": "/metadata/name", "value": "two"}], JSON_PATCH),
        (422, "Invalid", "the server rejected our request due to an error in our request"),
    ),
    (("PATCH", f"{NODES}/one", {}, "application/json"), (415, "UnsupportedMediaType", "415: Unsupported Media Type")),
    (
        ("PATCH", f"{PODS}/applied", applied(image="x:1"), APPLY),
        (
            422,
            "Invalid",
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
        ),
    ),
    (
        ("PATCH", f"{PODS}/applied?fieldManager=you", applied(image="x:2"), APPLY),
        (409, "Conflict", 'Apply failed with 1 conflict: conflict with "me": .spec.containers[name="main"].image'),
    ),
    (
        ("DELETE", f"{PODS}/applied", {"preconditions": {"uid": NOBODY}}, ""),
        (
            409,
            "Conflict",
            f'Operation cannot be fulfilled on Pod "applied": the UID in the precondition ({NOBODY}) does not match '
            "the UID in record (UID). The object might have been deleted and then recreated",
        ),
    ),
    (
        ("POST", f"{PODS}/applied/eviction", eviction("applied", preconditions={"uid": NOBODY}), ""),
        (
            409,
            "Conflict",
            f'Operation cannot be fulfilled on Pod "applied": the UID in the precondition ({NOBODY}) does not match '
            "the UID in record (UID). The object might have been deleted and then recreated",
        ),
    ),
    (("POST", f"{PODS}/none/eviction", eviction("none"), ""), (404, "NotFound", 'pods "none" not found')),
    (
        ("POST", f"{PODS}/applied/eviction", eviction("other"), ""),
        (400, "BadRequest", "name in URL does not match name in Eviction object"),
    ),
    (
        ("POST", f"{PODS}/guarded/eviction", eviction("guarded"), ""),
        (429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget."),
    ),
    (
        ("POST", f"{PODS}/twice/eviction", eviction("twice"), ""),
        (
            500,
            "",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ),
    ),
    (
        ("POST", LEASES, lease("held"), ""),
        (409, "AlreadyExists", 'leases.coordination.k8s.io "held" already exists'),
    ),
    (
        ("PUT", f"{LEASES}/held", lease("held", resourceVersion="1"), ""),
        (409, "Conflict", f'Operation cannot be fulfilled on leases.coordination.k8s.io "held": {MODIFIED}'),
    ),
]


@pytest.fixture(scope="module")
def cluster(server: Server) -> Server:
    """A node, a Lease, a pod that `me` applied, a pod whose budget allows nothing and one with two budgets."""
    server.send("POST", NODES, node("one", "web", False))
    server.send("POST", LEASES, lease("held"))
    status, _ = server.answer("PATCH", f"{PODS}/applied?fieldManager=me", applied(image="x:1"), APPLY)
    assert status == 201
    for name in ("guarded", "twice"):
        server.send("POST", PODS, pod(name, "x:1", "one", {"app": name}))
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        server.send("PATCH", f"{PODS}/{name}/status", {"status": ready})
    for name, app in (("guarded", "guarded"), ("twice-1", "twice"), ("twice-2", "twice")):
        spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": app}}}
        made = server.send("POST", BUDGETS, {"metadata": {"name": name}, "spec": spec})
        counts = {"currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 1}
        generation = made["metadata"].get("generation", 1)
        server.send("PATCH", f"{BUDGETS}/{name}/status", {"status": {"observedGeneration": generation, **counts}})
    return server


def said(server: Server, asked: Asked) -> tuple[int, str, str]:
    """Status, reason and message of the answer, the UID of the pod `applied` as UID."""
    method, path, body, kind = asked
    headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": kind or "application/json"}
    content = None if body is None else json.dumps(body)
    with urllib3.PoolManager(ca_certs=server.ca or None, assert_hostname=False) as pool:
        answer = pool.request(method, server.url + path, body=content, headers=headers)
    if not answer.headers["Content-Type"].startswith("application/json"):
        return answer.status, "", answer.data.decode()
    found = json.loads(answer.data)
    uid = server.send("GET", f"{PODS}/applied")["metadata"]["uid"]
    return answer.status, found.get("reason", ""), found["message"].replace(uid, "UID")


@pytest.mark.parametrize(("asked", "words"), REFUSED, ids=[f"{words[0]} {asked[1]}" for asked, words in REFUSED])
def test_a_refusal_is_put_in_the_real_servers_words(cluster: Server, asked: Asked, words: tuple[int, str, str]) -> None:
    assert said(cluster, asked) == words


def test_an_update_makes_a_lease_that_is_not_there(cluster: Server) -> None:
    assert cluster.answer("PUT", f"{LEASES}/new", lease("new"))[0] == 201
    assert cluster.answer("PUT", f"{LEASES}/new", lease("new"))[0] == 422
    assert cluster.answer("PUT", f"{LEASES}/lost", lease("lost", resourceVersion="1"))[0] == 201
