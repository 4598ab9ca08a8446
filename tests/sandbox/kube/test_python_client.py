"""The Kubernetes Python client's typed models take the sandbox's answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, watch

from tests.sandbox.kube.factories import Running, budget, node, running, workload


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as started:
        started.cluster.add_node(node("n"))
        started.cluster.create(workload("Deployment", "web", 2))
        started.cluster.create(budget("web", minAvailable=2))
        started.advance(60)
        yield started


def api(served: Running) -> Any:
    """Untyped for the checker: whether a field may be None is what the models themselves check here."""
    return client.ApiClient(client.Configuration(host=served.url))


def core_api(served: Running) -> Any:
    return client.CoreV1Api(api(served))


def test_typed_lists_by_pages(served: Running) -> None:
    core = core_api(served)
    first = core.list_pod_for_all_namespaces(limit=1)
    rest = core.list_pod_for_all_namespaces(limit=1, _continue=first.metadata._continue)
    found = [pod.status.container_statuses[0].image_id for pod in first.items + rest.items]
    assert [image.partition("@")[0] for image in found] == ["docker.io/library/nginx"] * 2
    assert core.list_node().items[0].status.images[0].size_bytes == 200_000_000
    assert {event.reason for event in core.list_event_for_all_namespaces().items} >= {"Pulled", "Scheduled"}


def test_typed_workloads_and_budgets(served: Running) -> None:
    apps: Any = client.AppsV1Api(api(served))
    deployment = apps.read_namespaced_deployment("web", "default")
    assert (deployment.status.ready_replicas, deployment.spec.template.spec.containers[0].image) == (2, "nginx:1.27")
    policy: Any = client.PolicyV1Api(api(served))
    found = policy.list_namespaced_pod_disruption_budget("default").items[0]
    assert (found.status.disruptions_allowed, found.status.desired_healthy) == (0, 2)


def test_a_typed_eviction_is_refused_by_the_budget(served: Running) -> None:
    core = core_api(served)
    name = core.list_namespaced_pod("default").items[0].metadata.name
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=name, namespace="default"))
    with pytest.raises(client.ApiException) as refused:
        core.create_namespaced_pod_eviction(name, "default", eviction)
    assert refused.value.status == 429


def test_a_typed_patch_cordons_and_a_watch_sees_it(served: Running) -> None:
    core = core_api(served)
    core.patch_node("n", {"spec": {"unschedulable": True}})
    stream: Any = watch
    events = stream.Watch().stream(core.list_node, timeout_seconds=1)
    assert [(event["type"], event["object"].spec.unschedulable) for event in events] == [("ADDED", True)]
