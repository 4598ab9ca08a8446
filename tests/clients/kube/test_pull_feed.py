from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.clients.kube.pull_feed import as_records, event_records, read_all, read_events
from kubectl_imagecache.clients.kube.pull_wire import AnyEvent
from kubectl_imagecache.clients.kube.watch import GIVE_UP_S, Following
from kubectl_imagecache.core.errors import NotPermitted, Unavailable
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.pull_ledger import Ledger
from kubectl_imagecache.core.pull_records import EventRecord, NodeRecord, PodRecord, Record
from kubectl_imagecache.core.views import Gap
from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from kubectl_imagecache.sandbox.faults import Fault
from tests.clients.kube.server import EVENTS, Waits, api, connect, kubeconfig

NEW_MEMBERS = {
    "metadata": {"uid": "u1", "namespace": "default", "creationTimestamp": "2026-01-15T09:00:00Z"},
    "reason": "Pulled",
    "note": 'Container image "a/b:1" already present on machine',
    "regarding": {
        "kind": "Pod",
        "namespace": "default",
        "name": "web-1",
        "uid": "p1",
        "fieldPath": "spec.containers{c}",
    },
    "reportingController": "kubelet",
    "reportingInstance": "n1",
    "eventTime": "2026-01-15T09:00:01.250000Z",
    "series": {"count": 4, "lastObservedTime": "2026-01-15T09:10:00.500000Z"},
}
OLD_MEMBERS = {
    "metadata": NEW_MEMBERS["metadata"],
    "reason": "Pulled",
    "message": NEW_MEMBERS["note"],
    "involvedObject": NEW_MEMBERS["regarding"],
    "source": {"component": "kubelet", "host": "n1"},
    "firstTimestamp": "2026-01-15T09:00:01.250000Z",
    "lastTimestamp": "2026-01-15T09:10:00.500000Z",
    "count": 4,
}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Settings(scenario="pulls")) as running:
        yield running


def config(sandbox: Sandbox) -> Path:
    return Path(sandbox.env()["KUBECONFIG"])


def order(sandbox: Sandbox, **fault: object) -> None:
    sandbox.world.faults.rules.append(Fault(service="kube", **fault))  # type: ignore[arg-type]


def deploy(sandbox: Sandbox, name: str) -> None:
    """A pod that pulls a small image on the default pool, within seconds of the sandbox's time."""
    from kubectl_imagecache.sandbox.scenarios import shelf
    from kubectl_imagecache.sandbox.scenarios.workloads import Workload, pod_spec

    with sandbox.world.lock:
        spec = pod_spec(Workload(name, (f"{shelf.REDIS}:7.4.1-alpine",), "default-pool"))
        sandbox.kube.create(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
        )
        sandbox.world.clock.advance(60)
        sandbox.world.changed.notify_all()


@pytest.mark.parametrize("members", [OLD_MEMBERS, NEW_MEMBERS], ids=["core/v1", "events.k8s.io/v1"])
def test_both_groups_ways_of_writing_an_event_mean_the_same(members: dict[str, object]) -> None:
    event = msgspec.json.decode(json.dumps(members).encode(), type=AnyEvent)
    assert list(event_records([event])) == [
        EventRecord(
            uid="u1",
            reason="Pulled",
            message='Container image "a/b:1" already present on machine',
            node="n1",
            namespace="default",
            object_name="web-1",
            container="c",
            first=1768467601.25,
            last=1768468200.5,
            count=4,
        )
    ]


def test_nodes_events_and_the_pods_that_pulled_are_read(sandbox: Sandbox) -> None:
    found = Ledger()
    gaps = read_all(connect(config(sandbox)), (), found.add, lambda pod: pod.startswith("serving/server-cached-0"))
    assert gaps == []
    assert len([pull for pull in found.pulls if pull.pod.startswith("serving/")]) == 12
    cached = [node for node in found.nodes.values() if node.pool == "cached"]
    assert {node.cache_disks for node in cached} == {(DiskImageRef("sandbox-project", "model-server-2026-01"),)}
    assert {(node.zone, node.image_streaming) for node in cached} == {("europe-west4-a", True)}
    (pod,) = found.pods.values()
    assert pod.created is not None and pod.scheduled is not None and pod.ready is not None
    assert pod.created <= pod.scheduled < pod.ready


def test_who_may_not_read_core_events_reads_the_newer_group(sandbox: Sandbox) -> None:
    plain: list[Record] = []
    read_events(connect(config(sandbox)), "", as_records(plain.append))
    order(sandbox, status=403, path=r"^/api/v1/events", times=-1)
    newer: list[Record] = []
    root, version, gaps = read_events(connect(config(sandbox)), "", as_records(newer.append))
    assert (root, gaps) == ("/apis/events.k8s.io/v1", [])
    assert version.isdigit()
    assert newer == plain
    assert len(plain) > 100


def test_without_events_there_is_nothing_to_say(sandbox: Sandbox) -> None:
    order(sandbox, status=403, path=r"/events", times=-1)
    with pytest.raises(NotPermitted, match="list events"):
        read_all(connect(config(sandbox)), (), lambda record: None, lambda pod: True)


def test_without_nodes_or_pods_the_rest_is_told_with_a_gap(sandbox: Sandbox) -> None:
    order(sandbox, status=403, path=r"^/api/v1/(nodes|pods)", times=-1)
    found: list[Record] = []
    gaps = read_all(connect(config(sandbox)), (), found.append, lambda pod: True)
    assert [gap.what for gap in gaps] == ["nodes", "pods"]
    assert not any(isinstance(record, NodeRecord | PodRecord) for record in found)


def test_a_token_that_expires_between_pages_makes_nothing_count_twice(tmp_path: Path) -> None:
    metadata = {"namespace": "default", "creationTimestamp": "2026-01-15T09:00:00Z"}
    events = [{**OLD_MEMBERS, "count": 1, "metadata": {**metadata, "uid": f"u{n}"}} for n in range(1200)]
    found = Ledger()
    with api([], [], events) as (server, url):
        server.fail(Fault(status=410, path="continue=", after=1))
        read_events(connect(kubeconfig(tmp_path, url)), "", as_records(found.add))
        assert len(server.asked(EVENTS)) == 5
    assert (len(found.pulls), found.events) == (1200, 1200)


def test_an_event_of_the_wrong_shape_is_counted_and_the_others_read(tmp_path: Path) -> None:
    with api([], [], [{**OLD_MEMBERS, "count": "four"}, OLD_MEMBERS]) as (_, url):
        found: list[Record] = []
        _, _, gaps = read_events(connect(kubeconfig(tmp_path, url)), "", as_records(found.append))
    assert (len(found), [gap.what for gap in gaps]) == (1, ["1 of the events"])


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner)))
def test_odd_times_and_names_never_raise(value: object) -> None:
    members = {**OLD_MEMBERS, "lastTimestamp": str(value), "source": None, "reportingInstance": str(value)}
    event = msgspec.json.decode(json.dumps(members).encode(), type=AnyEvent)
    (record,) = event_records([event])
    assert record.node == str(value) or (record.node == "" and str(value) == "")


class Follow:
    """A Following on the sandbox that ends once DONE says so."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.ledger = Ledger()
        self.new: list[EventRecord] = []
        self.gaps: list[Gap] = []
        self.clock = Waits()
        self.following = Following(connect(config(sandbox), self.clock), "", self.add, self.gaps.append)

    def add(self, record: Record) -> None:
        if self.ledger.add(record) and isinstance(record, EventRecord):
            self.new.append(record)

    def pods(self, prefix: str) -> list[str]:
        return [pull.pod for pull in self.ledger.pulls if pull.pod.startswith(f"default/{prefix}")]


def test_a_watch_tells_first_what_was_and_then_what_comes(sandbox: Sandbox) -> None:
    follow = Follow(sandbox)
    asked = 0

    def until() -> float:
        nonlocal asked
        asked += 1
        if asked == 2:  # The list has been read: a watch is open or about to be.
            deploy(sandbox, "late")
        return 0 if follow.pods("late") or asked > 400 else 2

    follow.following.run(until)
    assert follow.pods("late") == ["default/late"]
    assert follow.gaps == []
    uids = [(record.uid, record.count) for record in follow.new]
    assert len(uids) == len(set(uids)) > 100


def test_a_version_that_is_too_old_lists_again_and_nothing_counts_twice(sandbox: Sandbox) -> None:
    follow = Follow(sandbox)
    rounds = 0

    def until() -> float:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            return 1
        if rounds == 2:
            deploy(sandbox, "missed")
            sandbox.kube.compact()
            follow.following.version = "1"
        return 0 if follow.pods("missed") or rounds > 400 else 1

    follow.following.run(until)
    assert follow.pods("missed") == ["default/missed"]
    lists = [call for call in sandbox.world.calls if "/events?" in call.target and "watch=1" not in call.target]
    assert len(lists) == 2
    uids = [(record.uid, record.count) for record in follow.new]
    assert len(uids) == len(set(uids))


def test_a_broken_connection_is_made_again_after_a_pause(sandbox: Sandbox) -> None:
    order(sandbox, kind="reset", path="watch=1", times=2)
    follow = Follow(sandbox)
    deploys = 0

    def until() -> float:
        nonlocal deploys
        if follow.clock.slept and not deploys:
            deploys += 1
            deploy(sandbox, "after")
        return 0 if follow.pods("after") else 1

    follow.following.run(until)
    assert follow.pods("after") == ["default/after"]
    assert len(follow.clock.slept) == 2


def test_a_server_that_stays_away_is_given_up_in_the_end(sandbox: Sandbox) -> None:
    order(sandbox, status=503, path="watch=1", times=-1)
    follow = Follow(sandbox)
    with pytest.raises(Unavailable, match="503"):
        follow.following.run(lambda: None)
    assert sum(follow.clock.slept) >= GIVE_UP_S
