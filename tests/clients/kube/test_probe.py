from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from kubectl_imagecache.clients.kube import Kube
from kubectl_imagecache.clients.kube.lists import decoder_of
from kubectl_imagecache.clients.kube.options import KubeOptions
from kubectl_imagecache.clients.kube.probe import ProbeKube
from kubectl_imagecache.clients.kube.probe_wire import Pod, probe_of
from kubectl_imagecache.core.errors import NotFound, NotPermitted, UserError
from kubectl_imagecache.core.probe import Found, Outcome, Probe, ProbeSpec, outcome
from kubectl_imagecache.core.pull_methods import Method, Sureness
from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from kubectl_imagecache.sandbox.faults import Fault
from kubectl_imagecache.sandbox.scenarios.pulls import MODEL_SERVER, NODES
from kubectl_imagecache.sandbox.scenarios.stage import LOCATION, PROJECT

POOLS = ("plain", "streaming", "cached")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Settings("pulls")) as running:
        yield running


@pytest.fixture
def kube(sandbox: Sandbox, tmp_path: Path) -> ProbeKube:
    return ProbeKube(Kube.connect(KubeOptions(), sandbox.env(), tmp_path).transport)


def fresh_node(sandbox: Sandbox, pool: str) -> str:
    """A node that the pool has just got."""
    before = {str(node["metadata"]["name"]) for node in sandbox.kube.objects("Node")}
    cluster = f"projects/{PROJECT}/locations/{LOCATION}/clusters/{sandbox.cluster}"
    body = json.dumps({"nodeCount": NODES + 1}).encode()
    with urlopen(Request(f"{sandbox.url('gke')}/v1/{cluster}/nodePools/{pool}:setSize", body)) as answer:
        assert answer.status == 200
    sandbox.world.clock.advance(600)
    (name,) = {str(node["metadata"]["name"]) for node in sandbox.kube.objects("Node")} - before
    return name


def measured(sandbox: Sandbox, kube: ProbeKube, spec: ProbeSpec, seconds: float = 120) -> tuple[Probe, Outcome]:
    kube.create(spec)
    sandbox.world.clock.advance(seconds)
    (probe,) = kube.probes(spec.namespace, spec.run)
    return probe, outcome(probe, kube.events(probe), kube.node(probe.node), sandbox.world.clock.now())


def test_a_probe_measures_each_way_to_pull_and_starts_nothing(sandbox: Sandbox, kube: ProbeKube) -> None:
    found = {}
    for pool in POOLS:
        node = fresh_node(sandbox, pool)
        probe, result = measured(sandbox, kube, ProbeSpec(f"p-{pool}", "default", MODEL_SERVER, pool, pool, node))
        assert (result.found, result.node, result.sure is not None) == (Found.PULLED, node, True)
        assert result.seconds is not None and result.running_s is not None
        assert result.seconds - 1 <= result.running_s <= result.seconds + 3
        found[pool] = (result.method, result.seconds < 1)
        kube.delete(probe)
        assert kube.probes("default", pool) == []
    assert found == {
        "plain": (Method.REGISTRY, False),
        "streaming": (Method.STREAMING, True),
        "cached": (Method.CACHE_DISK, True),
    }
    pods = sandbox.kube.objects("Pod", "default")
    assert [pod["metadata"]["name"] for pod in pods if pod["metadata"]["name"].startswith("p-")] == []


def test_a_node_that_has_the_image_is_found_out(sandbox: Sandbox, kube: ProbeKube) -> None:
    _, result = measured(sandbox, kube, ProbeSpec("p", "default", MODEL_SERVER, "r", "plain"))
    assert (result.found, result.seconds) == (Found.PRESENT, None)


def test_the_images_own_command_can_be_started(sandbox: Sandbox, kube: ProbeKube) -> None:
    node = fresh_node(sandbox, "cached")
    probe, result = measured(sandbox, kube, ProbeSpec("p", "default", MODEL_SERVER, "r", "cached", node, command=()))
    assert (result.found, probe.ended, probe.there) == (Found.PULLED, None, True)
    assert result.running_s is not None and result.running_s <= 3


def test_an_image_that_does_not_exist_fails_with_the_runtimes_words(sandbox: Sandbox, kube: ProbeKube) -> None:
    _, result = measured(sandbox, kube, ProbeSpec("p", "default", f"{MODEL_SERVER}9", "r", "plain"))
    assert result.found is Found.FAILED
    assert "not found" in result.why


def test_a_probe_that_no_node_takes_says_why(sandbox: Sandbox, kube: ProbeKube) -> None:
    _, result = measured(sandbox, kube, ProbeSpec("p", "default", MODEL_SERVER, "r", "nowhere"))
    assert result.found is Found.UNPLACED
    assert "didn't match Pod's node affinity/selector" in result.why


def test_making_a_probe_twice_and_deleting_it_twice_is_making_and_deleting_it_once(
    sandbox: Sandbox, kube: ProbeKube
) -> None:
    spec = ProbeSpec("p", "default", MODEL_SERVER, "r", "cached")
    kube.create(spec)
    kube.create(spec)
    (probe,) = kube.probes("default")
    kube.delete(replace(probe, uid="another-pods"))
    assert [one.leaving for one in kube.probes("default")] == [False]
    kube.delete(probe)
    sandbox.world.clock.advance(30)
    kube.delete(probe)
    assert kube.probes("default") == []


@pytest.mark.parametrize(
    ("message", "kind", "words"),
    [
        ('pods "p" is forbidden: exceeded quota: small, requested: pods=1', UserError, "a quota doesn't allow it"),
        ('pods "p" is forbidden: violates PodSecurity "restricted:latest"', UserError, "violates PodSecurity"),
        ('pods is forbidden: User "x" cannot create resource "pods"', NotPermitted, "not permitted: create pods"),
    ],
)
def test_what_forbids_a_probe_is_told_apart(
    sandbox: Sandbox, kube: ProbeKube, message: str, kind: type[UserError], words: str
) -> None:
    sandbox.world.faults.rules.append(Fault(status=403, method="POST", message=message))
    with pytest.raises(kind, match=words):
        kube.create(ProbeSpec("p", "default", MODEL_SERVER, "r", "cached"))


def test_a_namespace_that_is_not_there_is_named(kube: ProbeKube) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        kube.create(ProbeSpec("p", "nowhere", MODEL_SERVER, "r", "cached"))


def test_where_events_on_nodes_may_not_be_read_the_way_is_inferred(sandbox: Sandbox, kube: ProbeKube) -> None:
    sandbox.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "lab"}})
    node = fresh_node(sandbox, "streaming")
    spec = ProbeSpec("p", "lab", MODEL_SERVER, "r", "streaming", node)
    probe, result = measured(sandbox, kube, spec)
    assert result.sure is Sureness.OBSERVED
    sandbox.world.faults.rules.append(Fault(status=403, path="namespaces/default/events", times=-1))
    result = outcome(probe, kube.events(probe), kube.node(node), sandbox.world.clock.now())
    assert (result.method, result.sure) == (Method.STREAMING, Sureness.INFERRED)


DAY = "2026-01-15T09:00:"
STATES: dict[str, tuple[dict[str, Any], tuple[bool, float | None]]] = {
    "running": ({"running": {"startedAt": f"{DAY}07Z"}}, (True, 7)),
    "never started": (
        {"terminated": {"reason": "StartError", "startedAt": "1970-01-01T00:00:00Z", "finishedAt": f"{DAY}09Z"}},
        (True, 9),
    ),
    "ended": (
        {"terminated": {"reason": "Error", "startedAt": f"{DAY}03Z", "finishedAt": f"{DAY}08Z"}},
        (True, 3),
    ),
    "can't be run": ({"waiting": {"reason": "RunContainerError"}}, (True, None)),
    "being made": ({"waiting": {"reason": "ContainerCreating"}}, (False, None)),
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_a_containers_state_tells_when_it_started(state: str) -> None:
    content, (there, started) = STATES[state]
    status: dict[str, Any] = {"name": "probe", "state": content, "containerID": "x" if "terminated" in content else ""}
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": f"{DAY}00Z"}
    pod = {"status": {"conditions": [placed], "containerStatuses": [status]}}
    probe = probe_of(decoder_of(Pod).decode(json.dumps(pod)))
    assert probe.scheduled is not None
    seconds = None if probe.started is None else probe.started - probe.scheduled
    assert (probe.there, seconds) == (there, None if started is None else timedelta(seconds=started))
