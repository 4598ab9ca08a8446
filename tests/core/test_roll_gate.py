from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from kubectl_imagecache.core.pins import Pin
from kubectl_imagecache.core.pools import POOL_LABEL
from kubectl_imagecache.core.roll import (
    OFF,
    Cordon,
    Delete,
    Evict,
    Mark,
    Origin,
    Remove,
    Repin,
    RollNode,
    RollPlan,
    RollPod,
    RollPool,
    RollView,
    Stop,
    Wait,
    family,
)
from kubectl_imagecache.core.roll_decide import decide
from kubectl_imagecache.core.roll_gate import MOST_FAMILIES, bystanders, noting
from kubectl_imagecache.core.roll_marks import CORDONED, DRAINING, MOVED, UNREADY
from tests.core.roll_world import NEW, OLD, START

PLAN = RollPlan("web", NEW, began=START)
MADE = START + timedelta(seconds=60)
WEB = RollPool("web", "RUNNING", (OLD,))
R2 = RollPool("web-r2", "RUNNING", (NEW,), origin=Origin("web", "g", OFF, START, 2))
WEBS = family("shop", "ReplicaSet", "web")


def node(name: str, pool: str = "web", **marks: str) -> RollNode:
    at = START.isoformat()
    words = {"moved": MOVED, "unready": UNREADY, "draining": DRAINING}
    found = {words[key]: value or at for key, value in marks.items()}
    old = pool == "web"
    shut = {CORDONED: at} if old else {}
    return RollNode(name, pool, cordoned=old, marks={**found, **shut}, disks=frozenset({OLD if old else NEW}))


def pod(name: str, on: str = "", ready: bool = False, owner: str = "web-6f7", template: str = "6f7") -> RollPod:
    return RollPod(
        "shop",
        name,
        name,
        on,
        "ReplicaSet",
        f"uid-of-{owner}",
        MADE,
        ready,
        labels={"pod-template-hash": template},
        owner_name=owner,
    )


def view(nodes: tuple[RollNode, ...], *pods: RollPod, later_s: float = 60, old: RollPool = WEB) -> RollView:
    return RollView(MADE + timedelta(seconds=later_s), old, R2, nodes, pods)


DONE = node("o1", draining="", moved=WEBS)


def test_what_replaces_a_moved_pod_is_known_through_a_rollout_and_on_any_node() -> None:
    here = (DONE, node("o2"), node("n1", "web-r2"))
    left = pod("web-6f7-a", "o2", ready=True)
    for replacement in (
        pod("web-6f7-b"),
        pod("web-6f7-b", "n1"),
        pod("web-9c8-a", "n1", owner="web-9c8", template="9c8"),
        pod("web-6f7-b", "a node of another pool"),
    ):
        found = decide(PLAN, view(here, left, replacement))
        assert found == Wait(f"1 pods that moved are not Ready yet, such as shop/{replacement.name}")
        late = decide(PLAN, view(here, left, replacement, later_s=1000))
        assert isinstance(late, Stop)
        assert late.why.startswith(f"shop/{replacement.name} is still ")


def test_pods_of_other_controllers_neither_stop_a_roll_nor_hold_it_up() -> None:
    here = (DONE, node("o2"), node("n1", "web-r2"))
    left = pod("web-6f7-a", "o2", ready=True)
    waiting = pod("api-1-a", owner="api-1", template="1")
    crashing = replace(pod("job-1-a", "n1", owner="job-1", template="1"), trouble="CrashLoopBackOff")
    far = replace(crashing, name="job-1-b", uid="job-1-b", node="a node of another pool")
    seen = view(here, left, waiting, crashing, far, later_s=1000)
    assert isinstance(decide(PLAN, seen), Mark)
    assert bystanders(PLAN, seen, WEB, R2) == [
        (waiting, "is still Pending after 900 s"),
        (crashing, "on n1 does not start: CrashLoopBackOff"),
    ]


def test_a_pod_that_was_not_ready_before_is_excused_after_its_next_rollout_too() -> None:
    here = (node("o1", draining="", moved=WEBS, unready=WEBS), node("o2"), node("n1", "web-r2"))
    left, again = pod("web-6f7-a", "o2"), pod("web-9c8-a", "n1", owner="web-9c8", template="9c8")
    assert isinstance(decide(PLAN, view(here, left, again)), Mark)


def test_whoever_began_the_roll_with_a_clock_ahead_does_not_blind_its_gate() -> None:
    assert R2.origin is not None
    ahead = replace(R2, origin=replace(R2.origin, started=START + timedelta(hours=1)))
    here = (DONE, node("o2"), replace(node("n1", "web-r2"), created=START + timedelta(seconds=5)))
    seen = replace(view(here, pod("web-6f7-a", "o2", ready=True), pod("web-6f7-b")), new=ahead)
    assert isinstance(decide(PLAN, seen), Wait)


def test_nothing_is_evicted_that_its_node_does_not_remember() -> None:
    begun, bare = node("o1", draining="", moved="aaa"), node("o2")
    here, there = pod("web-6f7-a", "o1", ready=True), node("n1", "web-r2")
    marked = Mark(("o1",), MOVED, {"o1": {MOVED: ",".join(sorted(["aaa", WEBS]))}})
    assert decide(PLAN, view((begun, bare, there), here)) == marked
    known = replace(begun, marks={**begun.marks, **marked.also["o1"]})
    assert decide(PLAN, view((known, bare, there), here)) == Evict((here,))
    first = decide(PLAN, view((bare, there), replace(here, node="o2")))
    assert first == Mark(("o2",), DRAINING, {"o2": {MOVED: WEBS}})


@pytest.mark.parametrize("gate", [True, False])
def test_an_emptied_node_goes_once_its_pods_run_elsewhere_and_leaves_its_memory_behind(gate: bool) -> None:
    assert R2.origin is not None
    batches = replace(R2, origin=replace(R2.origin, surge=1), size=1, sizes=(1,))
    here = (DONE, replace(node("o2"), cordoned=False, marks={}), node("n1", "web-r2", moved="aaa"))
    plan, old = replace(PLAN, gate=gate), replace(WEB, size=2, sizes=(2,))
    kept = ",".join(sorted(["aaa", WEBS]))
    gone = Remove(("o1",), "web", {"n1": {MOVED: kept}})
    starting, ready = pod("web-6f7-b", "n1"), pod("web-6f7-b", "n1", ready=True)
    waits = replace(view(here, starting, old=old), new=batches)
    assert isinstance(decide(plan, waits), Wait if gate else Remove)
    assert decide(plan, replace(waits, pods=(ready,))) == gone


def test_pods_that_a_new_template_replaces_are_moved_by_the_roll() -> None:
    bare = replace(node("o1"), cordoned=False, marks={})
    pin = Pin("Deployment", "shop", "web", POOL_LABEL, "web")
    there = node("n1", "web-r2")
    plan = replace(PLAN, repin=True)
    seen = replace(view((bare, there), pod("web-6f7-a", "o1", ready=True)), pins=(pin,))
    marks = {"o1": {MOVED: WEBS}}
    assert decide(plan, seen) == Repin((pin,), "web-r2", NEW, marks)
    noted = replace(bare, marks=marks["o1"])
    crashing = replace(pod("web-9c8-a", "n1", owner="web-9c8", template="9c8"), trouble="CrashLoopBackOff")
    shut = decide(plan, view((noted, there), crashing))
    assert isinstance(shut, Cordon)
    found = decide(plan, view((replace(noted, cordoned=True), there), crashing))
    assert isinstance(found, Stop)
    assert found.why == "shop/web-9c8-a on n1 does not start: CrashLoopBackOff"


def test_where_nodes_forget_every_new_pod_on_them_counts_and_none_elsewhere() -> None:
    here = (node("o1"), node("n1", "web-r2"))
    there, elsewhere = pod("api-1-a", "n1", owner="api-1"), pod("api-1-a", "another", owner="api-1")
    assert isinstance(decide(PLAN, replace(view(here, there), forgets=True)), Wait)
    assert decide(PLAN, replace(view(here, elsewhere), forgets=True)) == Delete("web")


def test_a_ready_node_may_lack_its_label_for_the_time_that_gke_takes_to_add_it() -> None:
    bare = RollNode("n1", "web-r2", created=MADE)
    seen = view((replace(node("o1"), cordoned=False, marks={}), bare))
    assert decide(PLAN, seen) == Wait("n1 of web-r2 is Ready and does not have the disk's label yet", 10, limited=True)
    late = decide(PLAN, replace(seen, now=MADE + timedelta(seconds=200)))
    assert late == Stop("n1 of web-r2 is Ready and does not have the disk's label", "see the node, or --rollback")


def test_a_node_that_does_not_empty_says_what_keeps_its_pod() -> None:
    begun, there = node("o1", draining="", moved=WEBS), node("n1", "web-r2")
    going = replace(pod("web-6f7-a", "o1"), leaving=True)
    plan = replace(PLAN, drain_timeout_s=60)
    for shut, kept, words in (
        (replace(begun, ready=False), going, "its node is not Ready, so no kubelet ends it: delete the node's VM"),
        (begun, replace(going, held_by=("x.io/wait",)), "its finalizers keep it: x.io/wait"),
        (begun, going, "it is slow to end"),
    ):
        found = decide(plan, view((shut, there), kept, later_s=600))
        assert isinstance(found, Stop)
        assert found.why.startswith(f"o1 is not empty after 60 s: shop/web-6f7-a: {words}")


def test_a_node_that_remembers_all_that_it_can_is_not_marked_for_ever() -> None:
    marks = noting(node("o1"), {f"{number:012x}" for number in range(MOST_FAMILIES + 5)})
    full = replace(node("o1"), marks=marks)
    assert (len(marks[MOVED].split(",")), noting(full, {"f" * 12})) == (MOST_FAMILIES, {})
