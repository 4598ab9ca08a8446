from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kubectl_imagecache.core.pins import Pin, rollout
from kubectl_imagecache.core.pools import POOL_LABEL, DiskImage, DiskState, Pool
from kubectl_imagecache.core.roll import RollPlan, RollPod
from kubectl_imagecache.core.roll_checks import Check, Result
from kubectl_imagecache.core.roll_preflight import Facts, checklist
from kubectl_imagecache.core.roll_room import Room
from kubectl_imagecache.core.surge import Surge
from tests.core.roll_world import NEW

PLAN = RollPlan("web", NEW)
FACTS = Facts(Pool("web"), DiskImage(NEW, DiskState.READY), "p", room=Room((2, 1)))


def found(facts: Facts, plan: RollPlan = PLAN) -> dict[str, Check]:
    return {check.name: check for check in checklist(plan, facts)}


@pytest.mark.parametrize(
    ("raw", "plan", "name", "result"),
    [
        ({"queuedProvisioning": {"enabled": True}}, PLAN, "queued", Result.REFUSE),
        ({"queuedProvisioning": {"enabled": False}}, PLAN, "queued", None),
        ({"placementPolicy": {"tpuTopology": "4x4"}}, replace(PLAN, surge=Surge(1)), "tpu-slice", Result.REFUSE),
        ({"placementPolicy": {"tpuTopology": "4x4"}}, PLAN, "tpu-slice", Result.WARN),
        ({"placementPolicy": {"type": "COMPACT"}}, PLAN, "tpu-slice", None),
        ({"config": {"soleTenantConfig": {"nodeAffinities": [{}]}}}, PLAN, "sole-tenant", Result.WARN),
        (
            {"config": {"reservationAffinity": {"consumeReservationType": "SPECIFIC_RESERVATION", "values": ["r1"]}}},
            PLAN,
            "reservation",
            Result.WARN,
        ),
        ({"config": {"reservationAffinity": {"consumeReservationType": "ANY_RESERVATION"}}}, PLAN, "reservation", None),
    ],
)
def test_pools_of_which_no_second_is_easily_had_are_told(
    raw: dict[str, Any], plan: RollPlan, name: str, result: Result | None
) -> None:
    check = found(replace(FACTS, raw=raw), plan).get(name)
    assert (check.result if check else None) is result
    if name == "reservation" and check is not None:
        assert check.text == "r1 must have room for 4 more nodes: it is not looked into"


def test_pods_that_begin_again_and_pods_that_end_late_are_named() -> None:
    job = RollPod("ns", "train-x", "u1", "n1", "Job", "o1")
    slow = RollPod("ns", "db-0", "u2", "n1", "StatefulSet", "o2", grace_s=7200)
    checks = found(replace(FACTS, pods=(job, slow)))
    assert (checks["jobs"].result, checks["jobs"].details) == (Result.WARN, ("ns/train-x",))
    assert (checks["grace"].result, checks["grace"].details) == (Result.WARN, ("ns/db-0",))
    assert {"jobs", "grace"}.isdisjoint(found(replace(FACTS, pods=(replace(slow, grace_s=60),))))


def test_what_a_new_template_does_past_all_budgets_is_said() -> None:
    pin = Pin("Deployment", "ns", "web", POOL_LABEL, "web", down=2, replicas=8)
    assert rollout(pin) == "; its rollout takes down 2 of 8 pods at a time, past any budget"
    assert rollout(replace(pin, kind="StatefulSet", down=None)) == ""
    assert rollout(replace(pin, kind="DaemonSet", down=None)) == "; all its pods leave the old nodes at once"
