from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.pools import Taint
from kubectl_imagecache.core.probe import Found, Outcome, Owner, Probe, ProbeSpec, manifest, outcome
from kubectl_imagecache.core.pull_methods import Method, Sureness
from kubectl_imagecache.core.pull_records import EventRecord
from tests.core.pull_factories import IMAGE, SIZE, event, node, present, pulled

NOW = datetime(2026, 1, 15, 9, 5, tzinfo=timezone.utc)
PLACED = Probe(
    "p-1", "lab", "u-1", "r1", "n1", IMAGE, NOW - timedelta(seconds=60), scheduled=NOW - timedelta(seconds=50)
)
DONE = replace(PLACED, there=True, started=NOW - timedelta(seconds=4), ended=NOW - timedelta(seconds=4))


def spec(**changes: Any) -> ProbeSpec:
    return replace(ProbeSpec("p-1", "lab", IMAGE, "r1", "gpu"), **changes)


def mine(record: EventRecord) -> EventRecord:
    return replace(record, namespace="lab")


def seen(*events: EventRecord, probe: Probe = DONE, now: datetime = NOW) -> Outcome:
    return outcome(probe, [mine(one) for one in events], node(), now)


def test_a_probe_conforms_to_pod_securitys_restricted_and_starts_nothing_of_the_image() -> None:
    pod = manifest(spec())["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65534,
        "runAsGroup": 65534,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert (container["imagePullPolicy"], container["command"]) == (
        "IfNotPresent",
        ["/kubectl-imagecache/no-such-command"],
    )
    assert (pod["automountServiceAccountToken"], pod["restartPolicy"], pod["activeDeadlineSeconds"]) == (
        False,
        "Never",
        3600,
    )
    assert container["resources"]["limits"] == {"cpu": "100m", "memory": "64Mi"}


def test_a_probe_is_pinned_to_its_node_and_tolerates_its_pools_taints() -> None:
    taints = (Taint("nvidia.com/gpu", "present", "NoSchedule"), Taint("spot", "", "NoExecute"))
    pod = manifest(spec(node="n1", taints=taints))["spec"]
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    assert pod["affinity"]["nodeAffinity"] == {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}
    }
    assert pod["nodeSelector"] == {"cloud.google.com/gke-nodepool": "gpu"}
    assert pod["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"},
        {"key": "spot", "operator": "Exists", "effect": "NoExecute"},
    ]


def test_a_probe_for_a_new_node_keeps_away_from_known_ones_and_from_its_siblings() -> None:
    affinity = manifest(spec(avoid=("n2", "n1")))["spec"]["affinity"]
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    away = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["n1", "n2"]}
    assert affinity == {
        "podAntiAffinity": {
            required: [
                {
                    "labelSelector": {"matchLabels": {"kubectl-imagecache/run": "r1"}},
                    "topologyKey": "kubernetes.io/hostname",
                }
            ]
        },
        "nodeAffinity": {required: {"nodeSelectorTerms": [{"matchExpressions": [away]}]}},
    }


def test_a_probe_goes_with_its_owner_and_can_run_the_images_own_command() -> None:
    made = manifest(spec(owner=Owner("batch/v1", "Job", "bench", "u-9"), command=()))
    assert made["metadata"]["ownerReferences"] == [
        {"apiVersion": "batch/v1", "kind": "Job", "name": "bench", "uid": "u-9"}
    ]
    assert "command" not in made["spec"]["containers"][0]


def test_a_pull_is_what_the_kubelet_says_and_running_what_the_container_says() -> None:
    at = NOW.timestamp() - 5
    assert seen(event("Pulling", f'Pulling image "{IMAGE}"', pod="p-1"), pulled("43.2s", "45s", pod="p-1", at=at)) == (
        Outcome(Found.PULLED, "n1", 43.2, 1.8, SIZE, 46.0, Method.REGISTRY, Sureness.INFERRED, 0, at)
    )


def test_the_way_of_a_pull_is_observed_where_the_node_tells_it() -> None:
    disk = event("SecondaryDiskCachin", f"Image {IMAGE} is backed by secondary disk cache.", pod="n1")
    found = outcome(DONE, [mine(pulled("300ms", pod="p-1")), disk], node(disk=True, streaming=True), NOW)
    assert (found.found, found.method, found.sure) == (Found.PULLED, Method.CACHE_DISK, Sureness.OBSERVED)


def test_an_image_that_the_node_had_is_no_pull() -> None:
    found = seen(present(pod="p-1"))
    assert (found.found, found.seconds, found.over) == (Found.PRESENT, None, True)


def test_another_pods_pull_on_the_node_is_not_taken_for_the_probes() -> None:
    assert seen(pulled(pod="other")).found is Found.WAITING


def test_a_pull_is_tried_again_before_it_counts_as_failed() -> None:
    def failures(count: int) -> Outcome:
        why = f'Failed to pull image "{IMAGE}": rpc error: code = NotFound desc = gone'
        return seen(event("Failed", why, pod="p-1", count=count), probe=replace(PLACED, waiting="ImagePullBackOff"))

    assert failures(2) == Outcome(Found.WAITING, "n1", why="ImagePullBackOff")
    assert failures(3) == Outcome(Found.FAILED, "n1", failures=3, why="rpc error: code = NotFound desc = gone")


def test_an_event_may_come_late_but_not_for_ever() -> None:
    assert seen().found is Found.WAITING
    assert seen(now=NOW + timedelta(seconds=60)).found is Found.UNSEEN


def test_what_ends_a_pod_early_is_told() -> None:
    evicted = replace(PLACED, gone="Evicted: The node was low on resource: memory.")
    assert (
        seen(probe=evicted).why == "the pod ended before its pull did: Evicted: The node was low on resource: memory."
    )
    assert seen(probe=replace(PLACED, leaving=True)).why == "the pod was deleted before its pull ended"
    assert seen(probe=replace(PLACED, waiting="InvalidImageName")) == Outcome(
        Found.FAILED, "n1", why="InvalidImageName"
    )


def test_a_probe_without_a_node_waits_and_says_what_for() -> None:
    waiting = replace(PLACED, node="", scheduled=None, unplaced="0/3 nodes are available: 3 Insufficient cpu.")
    found = seen(probe=waiting)
    assert (found.found, found.over, found.why) == (Found.UNPLACED, False, waiting.unplaced)


texts = st.text(max_size=40)


@given(
    st.lists(st.tuples(st.sampled_from(["Pulled", "Failed", "BackOff", "Pulling", "Started"]), texts), max_size=8),
    st.builds(Probe, name=texts, namespace=texts, uid=texts, run=texts, node=texts, image=texts, waiting=texts),
)
def test_whatever_events_say_there_is_an_outcome(said: list[tuple[str, str]], probe: Probe) -> None:
    found = outcome(probe, [event(reason, message) for reason, message in said], None, NOW)
    assert found.found is not Found.PULLED or found.seconds is not None
