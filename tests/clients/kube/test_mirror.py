from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kubectl_imagecache.cli.sandbox_clock import work_clock
from kubectl_imagecache.clients.kube import Kube
from kubectl_imagecache.clients.kube.mirror import Mirror
from kubectl_imagecache.clients.kube.options import KubeOptions
from kubectl_imagecache.clients.kube.roll import RollKube
from kubectl_imagecache.clients.kube.roll_wire import Pod, pod_of
from kubectl_imagecache.core.clock import LiveClock
from kubectl_imagecache.core.errors import BadAnswer, NotPermitted
from kubectl_imagecache.core.pools import POOL_LABEL
from kubectl_imagecache.core.roll import RollPod
from kubectl_imagecache.sandbox.embedded import Sandbox
from kubectl_imagecache.sandbox.faults import Fault
from tests.usecases.roll_stage import controller, settings, stage

POOLS = f"{POOL_LABEL} in (web,web-r2)"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settings()) as running:
        stage(running)
        yield running


def connect(sandbox: Sandbox, home: Path) -> tuple[RollKube, LiveClock]:
    env = {**sandbox.env(), "HOME": str(home)}
    clock = work_clock(env)
    return RollKube(Kube.connect(KubeOptions(), env, home, clock).transport, clock.reached), clock


def asked(sandbox: Sandbox) -> list[str]:
    return ["watch" if "watch=1" in c.target else "list" for c in sandbox.world.calls if "/pods?" in c.target]


def test_a_list_is_read_once_and_then_followed(sandbox: Sandbox, tmp_path: Path) -> None:
    kube, clock = connect(sandbox, tmp_path)
    sandbox.world.calls.clear()
    _, before = kube.seen(POOLS)
    assert not kube.changed.is_set()
    sandbox.kube.create(controller("Deployment", "more", {}, replicas=2))
    clock.sleep(60)
    _, after = kube.seen(POOLS)
    assert sum(pod.name.startswith("more-") and pod.ready for pod in after) == 2
    assert len(after) == len(before) + 2
    assert asked(sandbox) == ["list", "watch"]


BREAKS: dict[str, Callable[[Sandbox], None]] = {
    "forgotten history": lambda sandbox: sandbox.kube.compact(),
    "reset": lambda sandbox: sandbox.world.faults.rules.append(Fault(kind="reset", path="watch=1")),
    "503": lambda sandbox: sandbox.world.faults.rules.append(Fault(status=503, path="watch=1", times=2)),
    "410": lambda sandbox: sandbox.world.faults.rules.append(Fault(status=410, path="watch=1")),
    "403": lambda sandbox: sandbox.world.faults.rules.append(Fault(status=403, path="watch=1", times=-1)),
    "list reset": lambda sandbox: sandbox.world.faults.rules.append(Fault(kind="reset", path="/(pods|nodes)[?]")),
}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_breaks_what_is_seen_is_what_a_list_shows(sandbox: Sandbox, tmp_path: Path, seed: int) -> None:
    kube, clock = connect(sandbox, tmp_path)
    chance, number = random.Random(seed), 0
    for _ in range(25):
        if chance.random() < 0.3:
            BREAKS[chance.choice(list(BREAKS))](sandbox)
        if chance.random() < 0.5:
            number += 1
            sandbox.kube.create(controller("Deployment", f"more-{number}", {}, replicas=chance.randint(0, 3)))
        node = chance.choice(kube.nodes("web"))
        kube.patch_node(node.name, {}, unschedulable=not node.cordoned)
        pods = kube.pods()
        if pods and chance.random() < 0.5:
            kube.evict(chance.choice(pods))
        clock.sleep(chance.choice([0, 0.3, 5, 60]))
        nodes, seen = kube.seen(POOLS)
        assert nodes == kube.nodes("web")
        assert sorted(seen, key=lambda pod: pod.uid) == sorted(kube.pods(), key=lambda pod: pod.uid)
    sandbox.world.faults.rules.clear()


def test_a_change_of_ours_is_seen_before_the_watch_tells_of_it(sandbox: Sandbox, tmp_path: Path) -> None:
    env = {**sandbox.env(), "HOME": str(tmp_path)}
    sandbox.world.faults.rules.append(Fault(kind="slow", seconds=0.5, path="watch=1", times=-1))
    kube = RollKube(Kube.connect(KubeOptions(), env, tmp_path, work_clock(env)).transport)
    nodes, pods = kube.seen(POOLS)
    kube.patch_node(nodes[0].name, {"kubectl-imagecache/draining": "now"}, unschedulable=True)
    mine = next(pod for pod in pods if pod.owner_kind == "ReplicaSet")
    assert kube.evict(mine).done
    after, left = kube.seen(POOLS)
    assert (after[0].cordoned, after[0].marks) == (True, {"kubectl-imagecache/draining": "now"})
    assert [pod for pod in left if pod.uid == mine.uid] == [replace(mine, leaving=True)]


def test_what_may_not_be_read_is_said(sandbox: Sandbox, tmp_path: Path) -> None:
    kube, _ = connect(sandbox, tmp_path)
    sandbox.world.faults.rules.append(Fault(status=403, path="/pods[?]", times=-1))
    with pytest.raises(NotPermitted, match="list pods"):
        kube.seen(POOLS)


class Lines:
    """A server whose pods are these lists and watches, one after another."""

    def __init__(self, lists: list[bytes], watches: list[list[bytes]]) -> None:
        self.lists, self.watches, self.done = lists, watches, threading.Event()

    def get(self, path: str, query: object, what: str) -> bytes:
        return self.lists.pop(0)

    def lines(self, path: str, query: object, what: str, idle_s: float) -> Iterator[bytes]:
        yield from self.watches.pop(0)
        self.done.set()


def pod(name: str, version: int) -> bytes:
    return b'{"metadata":{"name":"%s","namespace":"a","uid":"%s","resourceVersion":"%d"}}' % (
        name.encode(),
        name.encode(),
        version,
    )


def listing(version: int, *items: bytes) -> bytes:
    return b'{"metadata":{"resourceVersion":"%d"},"items":[%s]}' % (version, b",".join(items))


def line(kind: str, item: bytes) -> bytes:
    return b'{"type":"%s","object":%s}' % (kind.encode(), item)


def mirror(lines: Lines) -> Mirror[Pod, RollPod]:
    return Mirror(lines, "/api/v1/pods", {}, Pod, pod_of, threading.Event())  # type: ignore[arg-type]


def test_a_line_that_makes_no_sense_ends_the_watch_and_the_list_is_read_again() -> None:
    first, second = listing(1, pod("x", 1)), listing(9, pod("x", 1), pod("y", 7))
    for nonsense in (b"{", line("ADDED", b'{"metadata":{}}'), line("NEWS", pod("z", 5)), line("ADDED", b"3")):
        found = mirror(Lines([first, second], [[nonsense, line("ADDED", pod("wrong", 6))], []]))
        assert [one.name for one in found.read()] == ["x"]
        assert [one.name for one in found.read(reached=9)] == ["x", "y"]


def test_a_list_with_an_item_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(BadAnswer, match="1 of the pods can't be read"):
        mirror(Lines([listing(1, pod("x", 1), b'{"metadata":{}}')], [])).read()


def test_a_server_that_does_not_watch_is_listed_each_time() -> None:
    found = mirror(Lines([listing(1, pod("x", 1)), listing(2, pod("y", 2))], [[], []]))
    assert [one.name for one in found.read()] == ["x"]
    assert [one.name for one in found.read(reached=2)] == ["y"]
