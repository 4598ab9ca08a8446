from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kubectl_imagecache.core.bench import BenchPlan, counted, probe_name
from kubectl_imagecache.core.errors import UserError
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.probe import ProbeSpec
from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from kubectl_imagecache.sandbox.faults import Fault, Faults
from kubectl_imagecache.sandbox.scenarios.pulls import DISK, MODEL_SERVER
from kubectl_imagecache.sandbox.scenarios.stage import PROJECT
from kubectl_imagecache.usecases.bench import Lost, Taken, bench
from kubectl_imagecache.usecases.bench_sweep import Left, sweep
from tests.cli.test_bench import NOTHING_LEFT, left
from tests.usecases.bench_stage import tools

PLAN = BenchPlan(MODEL_SERVER, ("plain", "cached"), nodes=1)
MAKE = replace(PLAN, pools=(), make_pools=True, like="plain", disk_image=DiskImageRef(PROJECT, DISK.name))
FAULTS = (
    Fault(status=503),
    Fault(status=503, applied=True),
    Fault(status=429, retry_after_s=3),
    Fault(kind="reset"),
    Fault(kind="reset", applied=True),
    Fault(kind="truncate"),
)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Settings("bench")) as running:
        yield running


class Recurring(Faults):
    """One kind of fault at the first, fourth, seventh … call of each method."""

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self._fault = fault
        self._seen: dict[str, int] = {}
        self.struck: set[str] = set()

    def strike(self, service: str, method: str, target: str) -> Fault | None:
        if "/_sandbox/" in target:
            return None
        self._seen[method] = self._seen.get(method, 0) + 1
        if self._seen[method] % 3 != 1:
            return None
        self.struck.add(method)
        return self._fault


@pytest.mark.parametrize(
    ("fault", "plan"),
    [*((fault, PLAN) for fault in FAULTS), *((fault, MAKE) for fault in FAULTS[1::3])],
    ids=lambda one: ("create-pools" if one.make_pools else "pools") if isinstance(one, BenchPlan) else one.kind,
)
def test_a_fault_at_every_third_call_changes_nothing(
    sandbox: Sandbox, tmp_path: Path, fault: Fault, plan: BenchPlan
) -> None:
    mine = tools(sandbox, tmp_path)
    faults = sandbox.world.faults = Recurring(fault)
    found = bench(mine, plan, "default")
    assert (found.ended, [len(counted(found.samples, pool)) for pool in found.plan.pools]) == (
        "",
        [1] * len(found.plan.pools),
    )
    assert faults.struck == {"GET", "POST", "PATCH", "DELETE"}
    assert left(sandbox) == NOTHING_LEFT


def test_a_cluster_that_goes_away_ends_the_bench_with_what_there_is(sandbox: Sandbox, tmp_path: Path) -> None:
    mine = tools(sandbox, tmp_path)
    gone = Fault(kind="status", status=503, path="^/(api|apis)/", service="kube", times=-1, after=30)
    sandbox.world.faults.rules.append(gone)
    found = bench(mine, PLAN, "default")
    assert "kubectl imagecache bench --sweep does that" in found.ended
    sandbox.world.faults.rules.clear()
    assert left(sandbox) != NOTHING_LEFT
    assert bench(replace(mine, gone=lambda who: True, who="you@there/2"), PLAN, "default").ended == ""
    assert left(sandbox) == NOTHING_LEFT


def halted(mine: Any, after: int) -> Any:
    """Tools of somebody who vanishes after so many lines told, without tidying up."""

    class Vanished(BaseException):
        pass

    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        if len(told) > after:
            raise Vanished

    return replace(mine, tell=tell), Vanished


def test_a_silent_holder_elsewhere_is_looked_on_before_its_run_is_taken_over(sandbox: Sandbox, tmp_path: Path) -> None:
    first, vanished = halted(tools(sandbox, tmp_path, "me@here/1"), 1)
    with pytest.raises(vanished):
        bench(first, PLAN, "default")
    second = tools(sandbox, tmp_path, "you@there/2")
    assert sweep(second, "default", dry_run=True).busy != ()
    before = second.clock.now()
    second.clock.sleep(200)
    found = bench(second, PLAN, "default")
    assert (found.ended, left(sandbox)) == ("", NOTHING_LEFT)
    assert (second.clock.now() - before).total_seconds() > 245


def test_a_run_that_was_taken_over_is_left_to_whoever_took_it(sandbox: Sandbox, tmp_path: Path) -> None:
    mine, other = tools(sandbox, tmp_path), tools(sandbox, tmp_path, "you@there/2")

    def steal(line: str) -> None:
        (run,) = mine.kube.runs("default")
        if run.who == mine.who:
            other.kube.take(run, other.who, other.clock.now())

    with pytest.raises(Taken, match="you@there/2 works on the bench"):
        bench(replace(mine, tell=steal), PLAN, "default")
    assert left(sandbox)["jobs"] != []
    other.clock.sleep(300)
    (run,) = other.kube.runs("default")
    assert sweep(tools(sandbox, tmp_path, "she@there/3"), "default") == Left((run.id,))
    assert left(sandbox) == NOTHING_LEFT


def test_a_bench_whose_owner_was_deleted_tidies_up_and_says_so(sandbox: Sandbox, tmp_path: Path) -> None:
    mine = tools(sandbox, tmp_path)

    def delete(line: str) -> None:
        for run in mine.kube.runs("default"):
            mine.kube.end(run)

    with pytest.raises(Lost, match=r"the owner of the bench .* is gone"):
        bench(replace(mine, tell=delete), PLAN, "default")
    assert left(sandbox) == NOTHING_LEFT


def test_pods_whose_owner_is_gone_are_swept(sandbox: Sandbox, tmp_path: Path) -> None:
    mine = tools(sandbox, tmp_path)
    mine.kube.create(ProbeSpec(probe_name("0a1b2c", 0, 0), "default", MODEL_SERVER, "0a1b2c", "plain"))
    mine.kube.create(ProbeSpec("imagecache-canary", "default", MODEL_SERVER, "roll-web", "plain"))
    assert sweep(mine, "default") == Left(("0a1b2c",))
    assert left(sandbox) == NOTHING_LEFT
    # Other probes than those of a bench are none of its business.
    assert [probe.name for probe in mine.kube.probes("default")] == ["imagecache-canary"]


def test_a_pool_that_gke_cannot_make_ends_the_bench_and_is_taken_away(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.cloud.limit("CPUS", 110)
    with pytest.raises(UserError, match=r"GKE: .*CPUS"):
        bench(tools(sandbox, tmp_path), MAKE, "default")
    assert left(sandbox) == NOTHING_LEFT


def test_signs_of_life_are_given_while_a_pool_takes_long_to_be_made(sandbox: Sandbox, tmp_path: Path) -> None:
    mine, other = tools(sandbox, tmp_path), tools(sandbox, tmp_path, "you@there/2")
    sandbox.cloud.state.timing = replace(sandbox.cloud.state.timing, node_ready_s=250)
    silent: list[float] = []

    class Watched:
        now = staticmethod(mine.clock.now)

        @staticmethod
        def sleep(seconds: float) -> None:
            mine.clock.sleep(seconds)
            for run in other.kube.runs("default"):
                if run.renewed and not run.ending:
                    silent.append((mine.clock.now() - run.renewed).total_seconds())

    found = bench(replace(mine, clock=Watched()), MAKE, "default")
    assert (found.ended, left(sandbox)) == ("", NOTHING_LEFT)
    assert len(silent) > 150 and max(silent) < 60


def test_who_interrupts_the_making_of_a_pool_waits_for_no_more_of_it_than_its_deletion_needs(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    mine = tools(sandbox, tmp_path)
    found = bench(replace(mine, interrupted=lambda: bool(left(sandbox)["pools"])), MAKE, "default")
    assert (found.ended, found.samples, left(sandbox)) == ("interrupted", (), NOTHING_LEFT)


def test_a_cluster_that_is_busy_is_waited_for(sandbox: Sandbox, tmp_path: Path) -> None:
    busy = "Cluster is running incompatible operation operation-1."
    fault = Fault(status=400, reason="FAILED_PRECONDITION", message=busy, service="gke", path="nodePools", times=30)
    for method in ("POST", "DELETE"):
        sandbox.world.faults.rules.append(replace(fault, method=method))
    found = bench(tools(sandbox, tmp_path), MAKE, "default")
    assert (found.ended, len(found.samples), left(sandbox)) == ("", 3, NOTHING_LEFT)


def test_pools_whose_owner_is_gone_are_swept_wherever_it_was(sandbox: Sandbox, tmp_path: Path) -> None:
    first, vanished = halted(tools(sandbox, tmp_path), 1)
    with pytest.raises(vanished):
        bench(first, MAKE, "default")
    (job,) = left(sandbox)["jobs"]
    assert len(left(sandbox)["pools"]) == 1
    (run,) = first.kube.runs("default")
    first.kube.end(run)
    assert sweep(tools(sandbox, tmp_path), "kube-system").cleaned == (job.rpartition("-")[2],)
    assert left(sandbox) == NOTHING_LEFT


def test_a_bench_longer_than_its_owners_hour_lives_on(sandbox: Sandbox, tmp_path: Path) -> None:
    mine = tools(sandbox, tmp_path)
    slept: list[float] = []

    def tell(line: str) -> None:
        # Between two pulls much time passes, in steps in which signs of life are given.
        if "pulled in" in line and len(slept) < 3:
            slept.append(2000)
            mine.clock.sleep(2000)

    found = bench(replace(mine, tell=tell), replace(PLAN, nodes=2), "default")
    assert (found.ended, len(slept), left(sandbox)) == ("", 3, NOTHING_LEFT)
