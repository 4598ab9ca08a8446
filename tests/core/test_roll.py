from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.roll import Cordon, Done, Origin, RollPlan, Scaling, Stop
from kubectl_imagecache.core.roll_decide import decide
from kubectl_imagecache.core.roll_pool import clone, labels, origin_of, scaling_json, scaling_of, successor
from tests.core.roll_world import NEW, Cluster, build, run

OWNERS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.integers(0, 5).flatmap(lambda replicas: st.tuples(st.just(replicas), st.integers(0, replicas))),
)
CRASHES = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 3)), max_size=4)
CLUSTERS = st.builds(build, st.integers(0, 10**6), st.integers(0, 4), OWNERS, st.booleans())
PLANS = st.builds(
    RollPlan,
    st.just("web"),
    st.just(NEW),
    max_unavailable=st.integers(1, 3),
    gate=st.booleans(),
    soak_s=st.sampled_from([0.0, 60.0]),
    drain_timeout_s=st.just(300.0),
)


def check_harmless(cluster: Cluster) -> None:
    assert cluster.lost_pods == []
    assert cluster.below_budget == []
    assert cluster.most_pools <= 2


@settings(deadline=None, max_examples=300)
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
        # What holds it up is a budget without room, or the broken pool: mend it, and a second run finishes.
        cluster.budgets = dict.fromkeys(cluster.budgets, 0)
        back = replace(plan, back=broken, disk=None if broken else NEW)
        end, _ = run(cluster, back, -1)
    assert isinstance(end, Done), end
    check_harmless(cluster)
    (pool,) = cluster.pools.values()
    assert (pool.status, pool.scaling) == ("RUNNING", cluster.limits)
    assert not any(node.cordoned for node in cluster.nodes.values())


@settings(deadline=None, max_examples=300)
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
    cluster = build(1, 3, {"a": (3, 0)}, autoscaled=False)
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
        "autoscaling": {"enabled": True, "totalMinNodeCount": 1, "totalMaxNodeCount": 9, "locationPolicy": "ANY"},
    }
