from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.roll import (
    OFF,
    Cordon,
    Done,
    Origin,
    RollPlan,
    RollPool,
    RollView,
    Scale,
    Scaling,
    Stop,
)
from kubectl_imagecache.core.roll_decide import decide
from kubectl_imagecache.core.roll_pool import (
    clone,
    held,
    labels,
    lasting,
    origin_of,
    scaling_json,
    scaling_of,
    successor,
)
from kubectl_imagecache.core.surge import Surge, first_batch, parse_surge
from kubectl_imagecache.core.windows import parse_window
from tests.core.roll_world import NEW, Cluster, build, run

EXAMPLES = int(os.environ.get("ROLL_EXAMPLES", "80"))
OWNERS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.integers(0, 5).flatmap(lambda replicas: st.tuples(st.just(replicas), st.integers(0, replicas))),
)
CRASHES = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 3)), max_size=4)
SIZES = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple)
CLUSTERS = st.builds(build, st.integers(0, 10**6), SIZES, OWNERS, st.booleans())
SURGES = st.one_of(st.none(), st.builds(Surge, st.integers(1, 4)), st.builds(Surge, st.just(50), st.just(True)))
WINDOWS = st.sampled_from([(), (parse_window("Mon-Sun 09:00-09:40"),), (), (parse_window("12:00-13:00"),)])
PLANS = st.builds(
    RollPlan,
    st.just("web"),
    st.just(NEW),
    max_unavailable=st.integers(1, 3),
    gate=st.booleans(),
    soak_s=st.sampled_from([0.0, 60.0]),
    drain_timeout_s=st.just(300.0),
    surge=SURGES,
    windows=WINDOWS,
    canary=st.sampled_from(["", "redis:7"]),
)


def check_harmless(cluster: Cluster) -> None:
    assert cluster.lost_pods == []
    assert cluster.below_budget == []
    assert cluster.most_pools <= 2
    origin = next((pool.origin for pool in cluster.pools.values() if pool.origin), None)
    if origin is not None and origin.surge and not cluster.limits.enabled:
        assert cluster.fewest_open >= origin.nodes
        assert cluster.most_nodes <= origin.nodes + origin.surge + cluster.zones


@settings(deadline=None, max_examples=EXAMPLES)
@given(CLUSTERS, PLANS, CRASHES, st.booleans())
def test_whatever_happens_a_roll_ends_harmlessly_and_can_always_be_finished(
    cluster: Cluster, plan: RollPlan, crashes: list[tuple[int, int]], broken: bool
) -> None:
    cluster.broken_pool = broken
    for step, calls in crashes:
        run(cluster, plan, step, calls)
        check_harmless(cluster)
    end, _ = run(cluster, plan, -1)
    check_harmless(cluster)
    if isinstance(end, Stop):
        # What holds it up is a budget without room, the broken pool, or that no node is there for a canary.
        cluster.budgets = dict.fromkeys(cluster.budgets, 0)
        canary = plan.canary if all(pool.size for pool in cluster.pools.values()) else ""
        back = replace(plan, back=broken, disk=None if broken else NEW, canary=canary)
        end, _ = run(cluster, back, -1)
    assert isinstance(end, Done), end
    check_harmless(cluster)
    (pool,) = cluster.pools.values()
    assert (pool.status, pool.scaling) == ("RUNNING", cluster.limits)
    assert not any(node.cordoned for node in cluster.nodes.values())
    assert cluster.canaries == set()


@settings(deadline=None, max_examples=EXAMPLES)
@given(CLUSTERS, PLANS, st.integers(0, 40), st.integers(0, 3), CRASHES)
def test_a_rollback_from_anywhere_restores_the_limits_and_takes_the_new_pool_away(
    cluster: Cluster, plan: RollPlan, turn: int, calls: int, crashes: list[tuple[int, int]]
) -> None:
    run(cluster, plan, turn, calls)
    back = replace(plan, back=True, disk=None)
    for step, done in crashes:
        run(cluster, back, step, done)
    cluster.budgets = dict.fromkeys(cluster.budgets, 0)
    end, _ = run(cluster, back, -1)
    if isinstance(end, Stop):
        assert "too late" in end.why or "nothing to go back to" in end.why
        end, _ = run(cluster, plan, -1)
        assert isinstance(end, Done)
        assert set(cluster.pools) == {"web-r2"}
    else:
        assert set(cluster.pools) == {"web"}
        assert not any(node.marks for node in cluster.nodes.values())
    check_harmless(cluster)
    (pool,) = cluster.pools.values()
    assert pool.scaling == cluster.limits


def test_a_roll_that_died_half_way_through_a_cordon_cordons_the_rest_before_anything_else() -> None:
    cluster = build(1, (3,), {"a": (3, 0)}, autoscaled=False)
    plan = RollPlan("web", NEW)
    while True:
        step = decide(plan, cluster.view({}))
        if isinstance(step, Cordon):
            break
        cluster.take(step, plan, {}, 1000)
        cluster.pass_time(5)
    cluster.take(step, plan, {}, 1)
    found = decide(plan, cluster.view({}))
    assert isinstance(found, Cordon)
    assert found.nodes == step.nodes[1:]


NAMES = st.from_regex(r"[a-z](?:[-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)


@given(NAMES, st.sets(NAMES))
def test_successors_have_legal_names_of_their_own(name: str, taken: set[str]) -> None:
    found = successor(name, taken | {name})
    assert len(found) <= 40
    assert found not in taken | {name}
    assert successor(found, {found}) != found


def test_a_generation_is_readable() -> None:
    assert [successor("web", ()), successor("web-r2", ()), successor("web", {"web-r2"})] == [
        "web-r2",
        "web-r3",
        "web-r3",
    ]


SCALINGS = st.builds(
    Scaling,
    st.just(True),
    *[st.integers(0, 2000)] * 4,
    st.sampled_from(["", "BALANCED", "ANY", "LOCATION_POLICY_UNSPECIFIED"]),
)


@given(NAMES, st.one_of(SCALINGS, st.just(Scaling())), st.integers(0, 4 * 10**9), st.integers(0, 10**4))
def test_what_the_labels_say_comes_back_whole(name: str, scaling: Scaling, at: int, nodes: int) -> None:
    origin = Origin(name, f"gke-{name}-0a1b2c3d-grp", scaling, datetime.fromtimestamp(at, timezone.utc), nodes)
    found = labels(origin)
    assert origin_of({"config": {"resourceLabels": found}}) == origin
    assert all(len(text) <= 63 and text == text.lower() for pair in found.items() for text in pair)
    assert scaling_of({"autoscaling": scaling_json(scaling)}) == scaling


def test_a_clone_keeps_what_it_does_not_know_and_drops_what_only_gke_writes() -> None:
    now = datetime(2026, 1, 15, 9, tzinfo=timezone.utc)
    pool: dict[str, Any] = {
        "name": "web",
        "status": "RUNNING",
        "selfLink": "x",
        "etag": "y",
        "instanceGroupUrls": [
            "https://x/zones/b/instanceGroupManagers/g2",
            "https://x/zones/a/instanceGroupManagers/g1",
        ],
        "locations": ["a", "b"],
        "version": "1.32.1",
        "novelty": {"kept": 1},
        "config": {
            "effectiveCgroupMode": "V2",
            "machineType": "n2-standard-8",
            "secondaryBootDisks": [
                {"diskImage": "global/images/data"},
                {"diskImage": "global/images/old", "mode": "CONTAINER_IMAGE_CACHE"},
            ],
            "resourceLabels": {"team": "x", "imagecache-roll-from": "web-r0"},
        },
        "networkConfig": {"podRange": "pods", "podIpv4CidrBlock": "10.0.0.0/14", "podIpv4RangeUtilization": 0.1},
        "management": {"autoRepair": True, "upgradeOptions": {}},
        "autoscaling": {"enabled": True, "totalMinNodeCount": 1, "totalMaxNodeCount": 9, "locationPolicy": "ANY"},
    }
    assert clone(pool, "web-r2", DiskImageRef("p", "new"), 3, {"1.33.0"}, now) == {
        "name": "web-r2",
        "initialNodeCount": 3,
        "locations": ["a", "b"],
        "novelty": {"kept": 1},
        "config": {
            "machineType": "n2-standard-8",
            "secondaryBootDisks": [
                {"diskImage": "global/images/data"},
                {"diskImage": "projects/p/global/images/new", "mode": "CONTAINER_IMAGE_CACHE"},
            ],
            "gcfsConfig": {"enabled": True},
            "resourceLabels": {
                "team": "x",
                "imagecache-roll-from": "web",
                "imagecache-roll-group": "g1",
                "imagecache-roll-scaling": "on-0-0-1-9-any",
                "imagecache-roll-started": "1768467600",
                "imagecache-roll-nodes": "6",
            },
        },
        "networkConfig": {"podRange": "pods", "createPodRange": False},
        "management": {"autoRepair": True},
        "autoscaling": {"enabled": True, "totalMinNodeCount": 6, "totalMaxNodeCount": 9, "locationPolicy": "ANY"},
    }


@settings(deadline=None, max_examples=EXAMPLES)
@given(CLUSTERS, PLANS, st.integers(0, 40), st.booleans())
def test_where_somebody_deletes_the_new_pool_the_old_one_is_restored(
    cluster: Cluster, plan: RollPlan, turn: int, back: bool
) -> None:
    plan, nodes = replace(plan, keep_old=True, canary=""), bool(cluster.nodes)
    run(cluster, plan, turn, 1000)
    cluster.lose_new_pool()
    cluster.budgets = dict.fromkeys(cluster.budgets, 0)
    if back:
        end, _ = run(cluster, replace(plan, back=True, disk=None), -1)
        assert isinstance(end, Done), end
        assert set(cluster.pools) == {"web"}
        assert not any(node.cordoned or node.marks for node in cluster.nodes.values())
    else:
        end, _ = run(cluster, replace(plan, keep_old=False), -1)
        assert isinstance(end, Done), end
    (pool,) = cluster.pools.values()
    # A pool without a node has nothing that could tell its limits.
    assert pool.scaling == cluster.limits or not nodes
    assert cluster.lost_pods == []


def test_a_slow_canary_leaves_the_old_pool_untouched_and_no_pod() -> None:
    cluster = build(1, (2,), {"a": (3, 0)}, autoscaled=True)
    cluster.slow_canary = True
    before = (cluster.pools["web"], [node for node in cluster.nodes.values() if node.pool == "web"])
    end, _ = run(cluster, RollPlan("web", NEW, canary="redis:7"), -1)
    assert end == Stop("the canary is slow", "go back")
    assert cluster.canaries == set()
    old = cluster.pools["web"]
    assert (replace(old, size=before[0].size, sizes=before[0].sizes), old.scaling.enabled) == (before[0], True)
    assert not any(node.cordoned or node.marks for node in cluster.nodes.values() if node.pool == "web")
    end, _ = run(cluster, RollPlan("web", back=True), -1)
    assert end == Done("web is as it was", back=True)


def test_no_budget_is_passed_unless_it_is_asked_for_and_then_only_after_its_time() -> None:
    cluster = build(1, (1,), {"a": (1, 1)}, autoscaled=False)
    plan = RollPlan("web", NEW, drain_timeout_s=600)
    end, _ = run(cluster, plan, -1)
    assert isinstance(end, Stop)
    assert "is not empty after 600 s: ns/n3: budget" in end.why
    began = cluster.now
    end, _ = run(cluster, replace(plan, force_after_s=300), -1)
    assert isinstance(end, Done)
    assert cluster.forced == {"n3"}
    assert cluster.now - began > timedelta(seconds=300)


def test_batches_keep_as_many_nodes_as_there_were_and_are_as_small_as_they_were_ordered() -> None:
    cluster = build(1, (3, 3, 3), {"a": (9, 8), "b": (9, 0)}, autoscaled=False)
    end, _ = run(cluster, RollPlan("web", NEW, surge=Surge(3), max_unavailable=9), -1)
    assert end == Done("web is replaced by web-r2")
    assert (cluster.most_nodes, cluster.fewest_open) == (12, 9)
    assert (cluster.lost_pods, cluster.below_budget) == ([], [])
    assert cluster.pools["web-r2"].sizes == (3, 3, 3)


def test_a_node_that_gke_makes_again_loses_its_marks_and_is_cordoned_and_emptied_again() -> None:
    cluster = build(1, (2,), {"a": (4, 0)}, autoscaled=False)
    plan = RollPlan("web", NEW, keep_old=True)
    assert isinstance(run(cluster, plan, -1)[0], Done)
    repaired = next(node for node in cluster.nodes.values() if node.pool == "web")
    cluster.nodes[repaired.name] = replace(repaired, marks={}, cordoned=False)
    cluster.add_pod("a", repaired.name)
    end, _ = run(cluster, plan, -1)
    assert isinstance(end, Done)
    assert cluster.nodes[repaired.name].cordoned
    assert not [pod for pod in cluster.pods.values() if pod.node == repaired.name and not pod.stays]
    end, _ = run(cluster, replace(plan, back=True, disk=None), -1)
    assert end == Done("web is as it was", back=True)
    assert not any(node.cordoned or node.marks for node in cluster.nodes.values())


@pytest.mark.parametrize(
    ("surge", "nodes", "zones", "found"),
    [
        ("3", 9, 3, 1),
        ("1", 9, 3, 1),
        ("50%", 9, 3, 1),
        ("100%", 9, 3, 3),
        ("7", 9, 3, 2),
        ("20", 4, 2, 2),
        ("1", 0, 2, 0),
    ],
)
def test_a_batch_is_as_many_nodes_in_every_zone(surge: str, nodes: int, zones: int, found: int) -> None:
    assert first_batch(parse_surge(surge), nodes, zones) == found


@pytest.mark.parametrize("text", ["0", "-1", "3.5", "%", "x%", "²", "", "10001"])
def test_what_is_no_number_of_nodes_is_refused(text: str) -> None:
    with pytest.raises(BadUsage, match="not a number of nodes"):
        parse_surge(text)


@pytest.mark.parametrize(
    ("limits", "surge", "then"),
    [
        (Scaling(True, 1, 5), 0, Scaling(True, 2, 5)),
        (Scaling(True, 1, 1), 0, Scaling(True, 1, 1)),
        (Scaling(True, 0, 0, 2, 9, "ANY"), 0, Scaling(True, 0, 0, 6, 9, "ANY")),
        (Scaling(True, 1, 5), 3, OFF),
        (OFF, 0, OFF),
    ],
)
def test_while_a_roll_lasts_no_autoscaler_shrinks_the_new_pool(limits: Scaling, surge: int, then: Scaling) -> None:
    made = Origin("web", "g", limits, datetime(2026, 1, 15, 9, tzinfo=timezone.utc), 6, surge)
    assert held(made, 3) == then
    pool = {"name": "web-r2", "locations": ["a", "b", "c"], "config": {"resourceLabels": labels(made)}}
    pool["autoscaling"] = scaling_json(then)
    assert scaling_of(lasting(pool)) == limits
    by_hand = {**pool, "autoscaling": {"enabled": True, "maxNodeCount": 77}}
    assert lasting(by_hand) == by_hand


def test_a_pool_whose_predecessor_somebody_else_deleted_gets_its_limits() -> None:
    made = Origin("web", "g", Scaling(True, 1, 5), datetime(2026, 1, 15, 9, tzinfo=timezone.utc), 2)
    new = RollPool("web-r2", "RUNNING", (NEW,), held(made, 1), origin=made)
    view = RollView(datetime(2026, 1, 16, tzinfo=timezone.utc), None, new)
    assert decide(RollPlan("web", NEW), view) == Scale("web-r2", Scaling(True, 1, 5))
    restored = replace(view, new=replace(new, scaling=Scaling(True, 1, 5)))
    assert decide(RollPlan("web", NEW), restored) == Done("web is replaced by web-r2")
