from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.roll import RollPlan, RollPod
from kubectl_imagecache.core.roll_checks import Budget, Check, Result
from kubectl_imagecache.core.roll_room import PodRange, Room, Volume, checks, pod_range
from kubectl_imagecache.core.surge import Surge

PLAN = RollPlan("web", DiskImageRef("p", "new"))
ROOM = Room((3, 3), frozenset({"a", "b"}), pod_range=PodRange("10.4.0.0/20", 16, 6))
POD = RollPod("ns", "db-0", "u1", "n1", "StatefulSet", "o1", claims=("data",))


def found(plan: RollPlan = PLAN, room: Room = ROOM, *budgets: Budget) -> dict[str, Check]:
    return {check.name: check for check in checks(plan, room, [POD], budgets)}


def test_all_nodes_at_once_need_as_many_addresses_again_and_batches_only_theirs() -> None:
    tight = replace(ROOM, pod_range=PodRange("10.4.0.0/20", 10, 6))
    assert found(PLAN, tight)["pod-addresses"] == Check(
        "pod-addresses",
        Result.REFUSE,
        "10.4.0.0/20 has pod addresses for 10 nodes: 6 are there, 6 are needed",
        ("roll in smaller batches, or add a range to the cluster",),
    )
    assert found(replace(PLAN, surge=Surge(4)), tight)["pod-addresses"].result is Result.OK
    assert found(PLAN, replace(ROOM, pod_range=None))["pod-addresses"].result is Result.WARN


@pytest.mark.parametrize(
    ("volume", "result", "text"),
    [
        (Volume("ns/data"), Result.OK, "1 persistent volumes can follow their pods"),
        (Volume("ns/data", frozenset({"b", "c"})), Result.OK, "1 persistent volumes can follow their pods"),
        (Volume("ns/data", frozenset({"c"})), Result.REFUSE, "1 volumes are in zones that have none of the new nodes"),
        (Volume("ns/data", on_node=True), Result.REFUSE, "1 volumes are on a node's own disks"),
        (Volume("other/data", on_node=True), None, ""),
    ],
)
def test_a_volume_follows_its_pod_unless_it_is_on_a_node_or_in_another_zone(
    volume: Volume, result: Result | None, text: str
) -> None:
    check = found(PLAN, replace(ROOM, volumes=(volume,))).get("volumes")
    assert (check.result if check else None) is result
    if check is not None:
        assert check.text.startswith(text)
        assert check.details == (("ns/data: ns/db-0",) if result is Result.REFUSE else ())


def test_volumes_that_could_not_be_read_are_said() -> None:
    assert found(PLAN, replace(ROOM, volumes=None))["volumes"].result is Result.WARN


def test_a_pod_with_two_budgets_is_refused_unless_it_may_be_deleted_past_them() -> None:
    two = (Budget("ns/a", 1, ("ns/db-0",)), Budget("ns/b", 1, ("ns/db-0",)))
    assert found(PLAN, ROOM, *two)["double-budgets"] == Check(
        "double-budgets",
        Result.REFUSE,
        "some pods have two budgets: Kubernetes evicts no such pod",
        ("ns/db-0: ns/a, ns/b",),
    )
    forced = found(replace(PLAN, force_after_s=600), ROOM, *two)
    assert (forced["double-budgets"].result, forced["force-after"].result) == (Result.WARN, Result.WARN)
    assert "double-budgets" not in found(PLAN, ROOM, two[0])


def test_batches_say_what_they_come_to() -> None:
    assert found(replace(PLAN, surge=Surge(2)))["batches"].text == "2 nodes at a time, 1 in every zone"
    assert found(replace(PLAN, surge=Surge(1)))["batches"].result is Result.WARN
    uneven = found(replace(PLAN, surge=Surge(50, True)), replace(ROOM, sizes=(3, 1), autoscaled=True))
    assert uneven["zones"].text == "the zones have 3, 1 nodes: the new pool's will have the same number each"
    assert uneven["autoscaling"].result is Result.WARN


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ({"podIpv4CidrSize": 24}, PodRange("10.4.0.0/14", 1024, 9)),
        ({"podIpv4CidrSize": 24, "networkConfig": {"podIpv4CidrBlock": "10.9.0.0/20"}}, PodRange("10.9.0.0/20", 16, 9)),
        (
            {
                "podIpv4CidrSize": 26,
                "networkConfig": {"podIpv4CidrBlock": "10.9.0.0/20", "podIpv4RangeUtilization": 0.25},
            },
            PodRange("10.9.0.0/20", 64, 16),
        ),
        ({}, None),
        ({"podIpv4CidrSize": 24, "networkConfig": {"podIpv4CidrBlock": "/20"}}, None),
    ],
)
def test_the_range_of_the_pods_is_read_where_gke_says_it(pool: dict[str, Any], expected: PodRange | None) -> None:
    assert pod_range({"clusterIpv4Cidr": "10.4.0.0/14", "currentNodeCount": 9}, pool) == expected
