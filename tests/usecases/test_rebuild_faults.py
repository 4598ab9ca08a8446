"""Every fault that the sandbox can order, at every call of a build in turn: what comes after always ends clean.

All of them take some ten minutes: REBUILD_FAULT_STRIDE=1. By default every 97th is tried, so that each kind of fault
is met, at calls all over the build.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import asdict, replace

import pytest

from kubectl_imagecache.core.build import ImageState
from kubectl_imagecache.core.errors import NotFound, UserError
from kubectl_imagecache.core.plan import BuildPlan
from kubectl_imagecache.sandbox.faults import KINDS, Fault
from kubectl_imagecache.usecases.rebuild import abort
from tests.usecases.builds import Killed, MortalHttp, Workshop, workshop

CALLS = 42
"""Requests of a build that nothing disturbs."""
STATUSES = (400, 401, 403, 404, 409, 412, 429, 500, 502, 503, 504)
ONCE, FOR_GOOD = 1, -1
FAULTS = [
    *(Fault("status", status, applied=applied) for status in STATUSES for applied in (False, True)),
    Fault("status", 429, retry_after_s=1),
    *(Fault("status", 503, times=FOR_GOOD, applied=applied) for applied in (False, True)),
    *(Fault("reset", applied=applied, times=times) for applied in (False, True) for times in (ONCE, FOR_GOOD)),
    Fault("truncate"),
    Fault("truncate", times=FOR_GOOD),
    Fault("slow", seconds=0.01),
]
STRIDE = int(os.environ.get("REBUILD_FAULT_STRIDE", "97"))
CASES = [*itertools.product(FAULTS, range(CALLS), ("run", "abort"))][::STRIDE]


def words(value: object) -> str | None:
    if not isinstance(value, Fault):
        return None
    plain = asdict(Fault())
    said = {key: found for key, found in asdict(value).items() if found != plain[key] and key not in ("seen", "status")}
    return " ".join([str(value.status), *(f"{key}={found}" for key, found in said.items())])


def test_the_list_of_faults_and_calls_is_whole() -> None:
    assert {fault.kind for fault in FAULTS} == set(KINDS)
    with workshop() as shop:
        http = MortalHttp()
        shop.build(shop.plan(), http).run()
        assert http.sent == CALLS


@pytest.mark.parametrize(("fault", "at", "then"), CASES, ids=words)
def test_after_any_fault_at_any_call_a_second_run_or_an_abort_ends_clean(fault: Fault, at: int, then: str) -> None:
    with workshop() as shop:
        plan = shop.plan()
        faults = shop.sandbox.world.faults.rules
        faults.append(replace(fault, service="compute", after=at))
        try:
            shop.build(plan).run()
        except UserError as error:
            assert error.message
        faults.clear()
        ends_clean(shop, plan, then)


@pytest.mark.parametrize("then", ["run", "abort"])
@pytest.mark.parametrize("reason", ["ZONE_RESOURCE_POOL_EXHAUSTED", "INTERNAL"])
@pytest.mark.parametrize(
    ("kind", "what"),
    [("insert", "VM"), ("setLabels", "VM"), ("stop", "VM"), ("insert", "image"), ("patch", "image"), ("delete", "VM")],
)
def test_after_any_operation_that_ends_badly_too(kind: str, what: str, reason: str, then: str) -> None:
    with workshop() as shop:
        plan = shop.plan()
        name = plan.build if what == "VM" else plan.output.ref.name
        shop.sandbox.cloud.fail_operation(kind, name, reason=reason, message="no capacity")
        with pytest.raises(UserError, match="no capacity"):
            shop.build(plan).run()
        ends_clean(shop, plan, then)


@pytest.mark.parametrize("performed", [False, True], ids=["before it is sent", "with the answer lost"])
def test_killed_at_any_request_of_an_abort_a_second_abort_ends_clean(performed: bool) -> None:
    for at in itertools.count(1):
        with workshop() as shop:
            plan = begun(shop)
            try:
                abort(shop.compute(MortalHttp(at, performed)), plan.build, shop.clock, unheard)
                break
            except Killed:
                ends_clean(shop, plan, "abort")
    assert at > 5


@pytest.mark.parametrize("fault", FAULTS, ids=words)
def test_after_any_fault_of_an_abort_a_second_one_ends_clean(fault: Fault) -> None:
    for at in calls_of_an_abort():
        with workshop() as shop:
            plan = begun(shop)
            faults = shop.sandbox.world.faults.rules
            faults.append(replace(fault, service="compute", after=at))
            try:
                abort(shop.compute(), plan.build, shop.clock, unheard)
            except UserError as error:
                assert error.message
            faults.clear()
            ends_clean(shop, plan, "abort")


def test_an_abort_says_what_compute_does_not_remove_instead_of_waiting_for_ever() -> None:
    with workshop() as shop:
        plan = begun(shop)
        shop.sandbox.cloud.fail_operation("delete", plan.build, reason="INTERNAL", message="no", times=100_000)
        with pytest.raises(UserError, match=f"Compute doesn't remove {plan.build}, .* of {plan.build}"):
            abort(shop.compute(), plan.build, shop.clock, unheard)


def begun(shop: Workshop) -> BuildPlan:
    """A build whose client died when the disk image was being made."""
    plan = shop.plan()
    with pytest.raises(Killed):
        shop.build(plan, MortalHttp(30, performed=True)).run()
    assert set(shop.left()) == {"instances", "disks", "images"}
    return plan


def calls_of_an_abort() -> Iterator[int]:
    with workshop() as shop:
        plan = begun(shop)
        http = MortalHttp()
        abort(shop.compute(http), plan.build, shop.clock, unheard)
    every = max(1, STRIDE // 6)
    return iter(range(0, http.sent, every))


def ends_clean(shop: Workshop, plan: BuildPlan, then: str) -> None:
    """Run PLAN again, or abort it: a finished disk image is left, or nothing."""
    whole = {"images": [plan.output.ref.name]}
    if then == "run":
        made = shop.build(plan).run()
        assert (made.state, made.family) == (ImageState.READY, "inference")
        assert shop.left() == whole
        return
    shop.clock.sleep(10)  # what was under way has come to its end
    before = shop.left()
    if before in ({}, whole):
        with pytest.raises(NotFound, match="nothing to abort"):
            abort(shop.compute(), plan.build, shop.clock, unheard)
        assert shop.left() == before
    else:
        assert abort(shop.compute(), plan.build, shop.clock, unheard)
        assert shop.left() == {}


def unheard(name: str, about: object) -> None:
    pass
